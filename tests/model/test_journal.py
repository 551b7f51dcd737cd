"""What readers choose from the daemon's log."""

from __future__ import annotations

import pytest

from imaginator.model.journal import Choice, Entry

BUILD = "01M8CKNT0VHW621TDENPEJPQ3D"
ENTRIES = [
    Entry(10.0, "info", "a", "image store: Embedded"),
    Entry(20.0, "warn", "b", f"build {BUILD} of web: failed"),
    Entry(30.0, "error", "c", "automatic rebuild of web/front: no"),
    Entry(40.0, "critical", "d", f"build {BUILD} broke\nTraceback"),
    Entry(50.0, "info", "e", "image web/2026-11-22:23:38:05 was deleted"),
]


@pytest.mark.parametrize(
    ("choice", "times"),
    [
        (Choice(), [10, 20, 30, 40, 50]),
        (Choice(level="info"), [10, 20, 30, 40, 50]),
        (Choice(level="error"), [30, 40]),
        (Choice(since=30.0), [30, 40, 50]),
        (Choice(text="EMBEDDED"), [10]),
        (Choice(text="traceback"), [40]),
        (Choice(name="web"), [20, 50]),
        (Choice(name="web", builds=frozenset({BUILD})), [20, 40, 50]),
        (Choice(name="web/front"), [30]),
        (Choice(name="front"), []),
        (Choice(name=BUILD), [20, 40]),
        (Choice(level="error", text="b", name=BUILD, since=11.0), [40]),
    ],
)
def test_choices(choice: Choice, times: list[float]) -> None:
    """A level has the worse ones with it; a stream has its builds and images, but not streams below it."""
    assert times == [entry.at for entry in choice.chosen(ENTRIES)]
