"""What a check of the store found, in sentences, and what it counted."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

Tell = Callable[[str], None]
Progress = Callable[[str, int, int], None]
"""Called with what is being looked at, how many are done, and of how many."""


class Outcome(StrEnum):
    """What became of a finding.

    ``REPAIRED``: the damage is gone, or heals by itself the next time. ``LEFTOVER``: rubbish of a killed daemon, which
    is no damage, removed. ``DAMAGED``: still there, and somebody has to do something.
    """

    REPAIRED = "repaired"
    LEFTOVER = "leftover"
    DAMAGED = "damaged"


class Report:
    """The findings; each is told at once, as one line, and only once."""

    def __init__(self, tell: Tell, progress: Progress) -> None:
        self._tell = tell
        self._told: dict[str, Outcome] = {}
        self.progress = progress
        self.images = self.nodes = self.objects = self.unneeded = self.layers = self.bytes = 0

    def add(self, outcome: Outcome, sentence: str) -> None:
        """Note and tell a finding."""
        line = f"{outcome.value}: {sentence}"
        if line not in self._told:
            self._told[line] = outcome
            self._tell(line)

    def count(self, outcome: Outcome) -> int:
        """How many findings had this outcome."""
        return list(self._told.values()).count(outcome)

    @property
    def damaged(self) -> bool:
        """Whether something is left damaged."""
        return self.count(Outcome.DAMAGED) > 0

    def summary(self) -> str:
        """One line: what was looked at, and how it is."""
        unneeded = f" ({self.unneeded} of them needed by no image)" if self.unneeded else ""
        looked = f"{self.images} images, {self.nodes} nodes, {self.objects} objects{unneeded}, {self.layers} layers"
        counts = ", ".join(f"{self.count(outcome)} {outcome.value}" for outcome in Outcome if self.count(outcome))
        return f"checked {looked}, {self.bytes} bytes read: {counts or 'all is well'}"
