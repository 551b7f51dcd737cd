"""The commands that tell which stream builds on which."""

from __future__ import annotations

import json

import pytest_twisted

from imaginator.model.graph import Graph
from imaginator.schedule.dependencies import Snapshot
from tests.cli.conftest import Tool
from tests.support.fake_builder import START

GRAPH = Graph(
    sources={"web": "base", "user/web": "web", "db": "lost"}, roots=frozenset({"base"}), errors={"x": "no file"}
)


@pytest_twisted.ensureDeferred
async def test_get_dependencies(tool: Tool) -> None:
    """JSON of the original's fields, indented by four; what is wrong with streams goes to standard error."""
    tool.site.builder.dependencies.latest = Snapshot(GRAPH, "fetched\n", START, START)
    said = await tool.run("get-dependencies", "--max-age=90s")

    assert {
        "FetchLog": "fetched\n",
        "GeneratedAt": "2026-11-22T23:38:05Z",
        "LastAttemptAt": "2026-11-22T23:38:05Z",
        "LastAttemptError": "",
        "StreamToSource": {"web": "base", "user/web": "web", "db": "lost"},
        "UnbuildableSources": {"lost": {}},
    } == json.loads(said.out)
    assert said.out.startswith('{\n    "FetchLog"')
    assert ("x: no file\n", 0) == (said.err, said.status)
    assert [90.0] == tool.site.builder.dependencies.asked


@pytest_twisted.ensureDeferred
async def test_get_digraph(tool: Tool) -> None:
    """The text alone, of the chosen streams; the original's flags are understood, and a failed attempt is told."""
    tool.site.builder.dependencies.latest = Snapshot(GRAPH, "", START, START, "the disk is full")
    said = await tool.run("-excludes=user,db", "-includes=base", "-maxAge=1h", "get-digraph")

    assert 'digraph all {\n  "web" -> "base"\n}\n' == said.out
    assert ("the last attempt failed: the disk is full\n", 0) == (said.err, said.status)
    assert [3600.0] == tool.site.builder.dependencies.asked
