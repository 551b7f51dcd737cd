"""What a build tells of itself while it runs; whoever listens decides what becomes of it."""

from __future__ import annotations

from typing import Protocol

from imaginator.model.build import Stage


class Monitor(Protocol):
    """The listener of one build."""

    def stage(self, stage: Stage) -> None:
        """A stage begins; the one before it is over."""

    def log(self, data: bytes) -> None:
        """Output of a command, as it came: not necessarily whole lines."""

    def note(self, text: str) -> None:
        """One line of the build itself."""
