"""The ways to other pages, and the page of methods."""

from __future__ import annotations

import re

import pytest

from imaginator.model.settings import QuickLink
from imaginator.rpc.methods import description
from imaginator.web.reference_page import kind_of
from tests.support.fake_builder import FakeBuilder
from tests.support.visitor import Visitor
from tests.web.test_store_page import HOURS

ELSEWHERE = (QuickLink("<Grafana>", "https://grafana.example/d/1?a=b&c=d"),)


def test_the_status_page_links_everything() -> None:
    """Every page that it names is there, and the operator's own dashboards are linked."""
    more = {"usage": HOURS, "recent_log": list, "reference": description, "dashboards": ELSEWHERE}
    visitor = Visitor(FakeBuilder(), **more)  # type: ignore[arg-type]
    doors = visitor.get("/").text.partition('<section id="dashboards">')[2].partition("</section>")[0]
    links = re.findall(r'href="([^"]*)"', doors)
    own = [link for link in links if link.startswith("/")]

    assert {
        "/showImageStreams", "/showBuildLogArchive", "/listImages", "/showStore", "/showDirectedGraph", "/logs",
        "/metrics", "/healthz", "/showMethods",
    } == set(own)  # fmt: skip
    assert [200] * len(own) == [visitor.get(link).status for link in own]
    assert ["https://grafana.example/d/1?a=b&amp;c=d"] == [link for link in links if link not in own]
    assert "<b>&lt;Grafana&gt;</b>" in doors


def test_what_is_not_there_is_not_linked() -> None:
    """A daemon without a log, samples and methods has no doors to them."""
    visitor = Visitor(FakeBuilder())
    text = visitor.get("/").text

    for page in ("/logs", "/showStore", "/showMethods"):
        assert page not in text
        assert 404 == visitor.get(page).status


def test_methods() -> None:
    """Each with what it does, who may call it, and what it takes."""
    text = Visitor(FakeBuilder(), reference=description).get("/showMethods").text

    assert text.count('class="method"') == len(description()["methods"])  # type: ignore[arg-type]
    assert '<section id="Imaginator.BuildImage" class="method">' in text
    assert "For the stream&#39;s builders, and callers with full access." in text
    assert '<dt class="name">StreamName</dt><dd>text <span class="badge">required</span></dd>' in text
    assert '<dt class="name">Variables</dt><dd>names with text</dd>' in text


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"anyOf": [{"$ref": "#/components/schemas/State"}, {"type": "null"}]}, "State"),
        ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, "text or whole number"),
        ({"type": "array", "items": {"type": "boolean"}}, "list of true or false"),
        ({"type": "object", "additionalProperties": {"type": "number"}}, "names with number"),
        ({"type": "string", "format": "date-time"}, "time"),
        ({"type": "object"}, "object"),
        ({"description": "any value"}, "any value"),
    ],
)
def test_kinds(schema: dict[str, object], words: str) -> None:
    """A schema in a few words."""
    assert words == kind_of(schema)
