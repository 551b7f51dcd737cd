"""What the check of the store says of its progress."""

from __future__ import annotations

from io import StringIO

from twisted.internet.task import Clock

from imaginator.service.verify import BETWEEN_PROGRESS, Progress


class Terminal(StringIO):
    """A terminal that remembers what was written."""

    def isatty(self) -> bool:
        """It is one."""
        return True


def test_progress_on_a_terminal() -> None:
    """A line every few seconds, not one a step."""
    clock, terminal = Clock(), Terminal()
    progress = Progress(terminal, clock.seconds)
    for done in range(0, 6000, 1000):
        progress("objects", done, 6672)
        clock.advance(BETWEEN_PROGRESS / 2)

    assert ["objects 2000 of 6672", "objects 4000 of 6672"] == terminal.getvalue().splitlines()


def test_no_progress_in_a_file() -> None:
    """What goes to a file or a pipe is the findings alone."""
    clock, file = Clock(), StringIO()
    progress = Progress(file, clock.seconds)
    clock.advance(BETWEEN_PROGRESS)
    progress("objects", 1, 2)

    assert "" == file.getvalue()
