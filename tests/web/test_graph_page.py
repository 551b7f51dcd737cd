"""The page with the drawing of which stream builds on which."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import pytest_twisted
from msgspec.structs import replace

from imaginator.model.build import BuildRequest
from imaginator.model.graph import Graph
from imaginator.web.stream_pages import MOST_DRAWN
from tests.support.fake_builder import FakeBuilder
from tests.support.raw_http import RawClient, served
from tests.web.test_download import site

GRAPH = Graph(
    sources={"web": "base", "shop": "web", "odd": "nowhere", "x": "y", "y": "x"},
    roots=frozenset({"base"}),
    errors={"bad": '<script>"&'},
    rebuilt=frozenset({"web"}),
    patterned=frozenset({"web"}),
    imaged=frozenset({"base"}),
)


def builder_of(graph: Graph) -> FakeBuilder:
    """A builder that knows a graph; its stream ``shop`` is being built."""
    builder = FakeBuilder({"shop": []})
    builder.dependencies.latest = builder.dependencies.latest._replace(graph=graph)
    builder.start(builder.add(BuildRequest(stream_name="shop")).build_id)
    return builder


async def page(graph: Graph, query: str = "") -> str:
    """The page."""
    async with site(Path(), builder=builder_of(graph)) as pages, served(pages) as connect:
        client: RawClient = await connect()
        client.ask(f"/showDirectedGraph{query}", "Accept: text/html", "Connection: close")
        await client.lost
        return bytes(client.data).decode()


def drawn(text: str) -> dict[str, str]:
    """The nodes: name → how they are drawn."""
    return {
        name: kind for kind, name in re.findall(r'<a class="([^"]*)" href="/showImageStream\?([^"]*)"><title>', text)
    }


@pytest_twisted.ensureDeferred
async def test_nodes() -> None:
    """Each is a link, drawn as its last build stands; what cannot be built is told."""
    text = await page(GRAPH)

    assert {
        "base": "never",
        "web": "never rebuilt patterned",
        "shop": "running",
        "odd": "never",
        "nowhere": "unbuildable",
        "x": "unbuildable",
        "y": "unbuildable",
        "bad": "unbuildable",
    } == drawn(text)
    assert "&lt;script&gt;&#34;&amp;" in text
    assert '<script>"&' not in text
    assert "build cycle: x -&gt; y -&gt; x" in text
    assert 'href="/showDirectedGraph?include=web">Only the web</a>' in text


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("?include=web", {"base", "web", "shop"}),
        ("?exclude=web&exclude=bad", {"base", "odd", "nowhere", "x", "y"}),
        ("?include=web,odd&exclude=shop", {"base", "web", "odd", "nowhere"}),
        ("?include=no+such", set()),
    ],
)
@pytest_twisted.ensureDeferred
async def test_choice(query: str, names: set[str]) -> None:
    """Only some, or without some."""
    assert names == set(drawn(await page(GRAPH, query)))


@pytest_twisted.ensureDeferred
async def test_too_many() -> None:
    """They are not drawn, and there is a way out."""
    many = {f"s{number}": "base" for number in range(MOST_DRAWN)}
    text = await page(replace(GRAPH, sources=many))

    assert ({}, True) == (drawn(text), "too many to be drawn" in text)
