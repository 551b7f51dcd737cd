"""Which stream builds on which, asked of a running daemon with the tool."""

from __future__ import annotations

import json
import time
import urllib.request

import pytest

from tests.support.live import Live

pytestmark = pytest.mark.integration


def test_the_graph_of_a_daemon(small: Live) -> None:
    """What is committed is told, and again when it has changed; circles are on the status page."""
    small.add_stream("web", {"manifest": json.dumps({"SourceImage": "small"})})
    small.add_stream("db", {"manifest": json.dumps({"SourceImage": "web"})})
    small.add_stream("bad", {"other": ""})
    while "bad" not in small.call("Imaginator.GetDependencies")["StreamErrors"]:
        time.sleep(0.05)  # until the watch has seen the streams
    said = small.tool("get-dependencies")
    drawn = small.tool("get-digraph", "--max-age=1h", "--excludes=db").stdout
    small.add_stream("web", {"manifest": json.dumps({"SourceImage": "db"})})
    later = json.loads(small.tool("get-dependencies", "--includes=web").stdout)
    with urllib.request.urlopen(small.daemon.url) as answer:
        page = answer.read().decode()

    assert {"web": "small", "db": "web"} == json.loads(said.stdout)["StreamToSource"]
    assert "bad: " in said.stderr
    assert "no file called manifest" in said.stderr
    assert 'digraph all {\n  "web" -> "small"\n  "bad" [fontcolor=red]\n  "small" [style=bold]\n}\n' == drawn
    assert ({"web": "db", "db": "web"}, {"web": {}, "db": {}}) == (later["StreamToSource"], later["UnbuildableSources"])
    assert "build cycle: db -&gt; web -&gt; db" in page
