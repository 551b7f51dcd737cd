"""When the lines of a log were written, on the page of its build and for whoever loads more of it."""

from __future__ import annotations

import json
import re

from imaginator.model.build import BuildRequest
from imaginator.model.marks import Marks
from imaginator.web.build_pages import TAIL
from tests.support.fake_builder import FakeBuilder
from tests.support.visitor import Visitor


def building() -> tuple[FakeBuilder, str]:
    """A build whose log has a line more than its page shows; its id."""
    builder = FakeBuilder({"x/y": ()})
    build = builder.add(BuildRequest(stream_name="x/y")).build_id
    builder.start(build, log=b"=== fetch\n" + b"x" * (TAIL - 20) + b"\nsecond last\nlast\n")
    log = builder.logs[build]
    log.marks = Marks()
    for offset, at, step in ((0, 0.0, 0.0), (10, 1.0, 0.0), (log.size - 5, 90.0, 30.0)):
        log.marks.add(offset, at, step)
    return builder, build


def test_the_page_has_a_column_of_times() -> None:
    """Since the step began; the browser learns when that was, to go on."""
    builder, build = building()
    text = Visitor(builder).get(f"/showBuild?{build}").text

    assert ["1.0 s", "1:00"] == re.findall(r'data-at="([^"]*)"', text)
    started = builder.records[build].started_at
    assert started
    assert f'data-step="{started.timestamp() + 30}"' in text


def test_times_of_a_part() -> None:
    """The marks of what lies there, the one that is in force at its beginning among them."""
    builder, build = building()
    visitor, size = Visitor(builder), builder.logs[build].size

    assert [[0, 0, 0]] == json.loads(visitor.get(f"/showBuildTimes?{build}&until=10").text)
    assert [[10, 1000, 0]] == json.loads(visitor.get(f"/showBuildTimes?{build}&offset=20&until=500").text)
    assert [[10, 1000, 0], [size - 5, 90_000, 30_000]] == json.loads(
        visitor.get(f"/showBuildTimes?{build}&offset={size - 6}").text
    )
    assert 404 == visitor.get(f"/showBuildTimes?{'0' * 26}").status
    assert 400 == visitor.get(f"/showBuildTimes?{build}&offset=x").status
