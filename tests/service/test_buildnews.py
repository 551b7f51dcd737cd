"""What the daemon's log tells of builds."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from twisted.logger import capturedLogs, formatEvent

from imaginator.model.build import BuildFailure, BuildRecord, BuildRequest, Stage, StageTime, State
from imaginator.service.buildnews import LONGEST, tell_end
from tests.support.fake_builder import START

RECORD = BuildRecord(
    build_id="01M8CKNT0VHW621TDENPEJPQ3D",
    request=BuildRequest(stream_name="web/front"),
    requester="",
    submitted_at=START,
    stages=(StageTime(Stage.FETCH, 0.5), StageTime(Stage.SCRIPTS, 40.25)),
)
GOOD = replace(RECORD, state=State.SUCCEEDED, image_name="web/front/2026-11-22:23:38:05")
BAD = replace(RECORD, state=State.FAILED, failure=BuildFailure(-32010, "BuildFailed", "no {room}\n" + "x" * LONGEST))
LONG = replace(RECORD, state=State.CANCELLED, failure=BuildFailure(-32011, "Cancelled", "x" * LONGEST + "y"))
OF = "build 01M8CKNT0VHW621TDENPEJPQ3D of web/front:"


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (RECORD, []),
        (replace(RECORD, state=State.RUNNING), []),
        (GOOD, [("info", f"{OF} succeeded after 40.8s: web/front/2026-11-22:23:38:05")]),
        (BAD, [("warn", f"{OF} failed after 40.8s: no {{room}}")]),
        (LONG, [("info", f"{OF} cancelled after 40.8s: {'x' * LONGEST}")]),
    ],
)
def test_what_is_said(record: BuildRecord, said: list[tuple[str, str]]) -> None:
    """One line when a build ends, with its image or the first line of what was wrong."""
    with capturedLogs() as events:
        tell_end(record)

    assert said == [(event["log_level"].name, formatEvent(event)) for event in events]
