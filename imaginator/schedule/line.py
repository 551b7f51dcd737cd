"""The line of builds that wait for their turn: people's first, else first come, first served.

What may not start yet is passed over without being looked at: builds stand by the user whose limit holds for them, and
of one user's builds of one stream only the first is looked at. So the next one is found at once in any line.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Container, Iterator
from typing import NamedTuple

from imaginator.model.build import BuildRecord

NOBODY = ""
"""For whom builds are that no user's limit holds for."""

SOURCES = None
"""For whom builds are that others wait for."""


class Turn(NamedTuple):
    """A build's place among others: the lesser comes first. Ids are in the order of submission.

    A source stands where the build stood that waits for it: behind the others it would let all of them wait, too.
    """

    automatic: bool
    since: str
    build_id: str
    stream: str


def turn_of(record: BuildRecord) -> Turn:
    """The turn of a build."""
    since = min(record.build_id, record.parent or record.build_id)
    return Turn(not record.for_people, since, record.build_id, record.request.stream_name)


def limited_user(record: BuildRecord) -> str | None:
    """The user whose limit of concurrent builds holds for a build, or `NOBODY`, or `SOURCES`.

    None holds for a build that another one waits for: if that is the same user's, both would wait for ever.
    """
    if record.parent:
        return SOURCES
    return NOBODY if record.privileged else record.requester


class Line:
    """Builds in the order of their turns."""

    def __init__(self) -> None:
        self._turns: list[Turn] = []
        self._shares: dict[str | None, _Share] = {}

    def __iter__(self) -> Iterator[str]:
        return (turn.build_id for turn in self._turns)

    def add(self, record: BuildRecord) -> None:
        """Let a build stand in line."""
        turn = turn_of(record)
        insort(self._turns, turn)
        self._shares.setdefault(limited_user(record), _Share()).change(insort, turn)

    def remove(self, record: BuildRecord) -> None:
        """Take out a build, which stands in line as this record has it."""
        turn, user = turn_of(record), limited_user(record)
        _take(self._turns, turn)
        share = self._shares[user]
        share.change(_take, turn)
        if not share:
            del self._shares[user]

    def place(self, record: BuildRecord) -> int:
        """How many stand in line up to this build; 0 where it does not."""
        turn = turn_of(record)
        index = bisect_left(self._turns, turn)
        return index + 1 if self._turns[index : index + 1] == [turn] else 0

    def first(self, streams: Container[object], users: Container[object], only_sources: bool) -> str | None:
        """The id of the first build of none of these streams, for none of these users; only of sources, if wanted."""
        if only_sources:
            users = self._shares.keys() - {SOURCES}
        firsts = [share.first(streams) for user, share in self._shares.items() if user not in users]
        found = min((turn for turn in firsts if turn is not None), default=None)
        return found and found.build_id


class _Share:
    """The turns of one user: in order by stream, and the first ones of all streams in order."""

    def __init__(self) -> None:
        self._lanes: dict[str, list[Turn]] = {}
        self._heads: list[Turn] = []

    def __bool__(self) -> bool:
        return bool(self._lanes)

    def change(self, change: Callable[[list[Turn], Turn], None], turn: Turn) -> None:
        """Put a turn in, or take it out."""
        lane = self._lanes.setdefault(turn.stream, [])
        if lane:
            _take(self._heads, lane[0])
        change(lane, turn)
        if lane:
            insort(self._heads, lane[0])
        else:
            del self._lanes[turn.stream]

    def first(self, streams: Container[object]) -> Turn | None:
        """The first turn of none of these streams."""
        return next((turn for turn in self._heads if turn.stream not in streams), None)


def _take(turns: list[Turn], turn: Turn) -> None:
    del turns[bisect_left(turns, turn)]
