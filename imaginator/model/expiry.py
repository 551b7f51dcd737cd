"""When the daemon's certificates end, and what is wrong with their files."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

SOON = timedelta(days=30)
"""From this long before the end on people are told."""


class Expiry(NamedTuple):
    """``flag`` names the file by the daemon's flag for it, ``what`` what ends in it, ``path`` where it is."""

    flag: str
    what: str
    path: str
    at: datetime

    def sentence(self, now: datetime) -> str:
        """What people are told."""
        verb = "expires on" if self.at > now else "has expired on"
        return f"{self.what} {verb} {self.at:%Y-%m-%d %H:%M UTC}: {self.path}"


class TlsState(NamedTuple):
    """What is known of the files of TLS that are in force.

    ``problem`` says why files that have changed are not, empty where they are; ``warnings`` what is odd about those
    that are.
    """

    problem: str = ""
    warnings: Sequence[str] = ()
    expiries: Sequence[Expiry] = ()

    def concerns(self, now: datetime) -> list[str]:
        """What somebody has to look after, as sentences."""
        refused = [f"{self.problem}; what was read before stays in force"] if self.problem else []
        ending = [expiry.sentence(now) for expiry in self.expiries if expiry.at - now < SOON]
        return [*refused, *self.warnings, *ending]
