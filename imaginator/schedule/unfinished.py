"""The builds that have not ended, in memory, with indexes: asking costs the same however many there are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator
from itertools import chain
from operator import attrgetter

from imaginator.model.build import BuildRecord, BuildRequest, State
from imaginator.schedule.line import NOBODY, SOURCES, Line, limited_user

_LIVES = ("expires_in", "keep_failed")
"""For how long what becomes of a build is kept: no part of what identical requests ask for."""
_words_of = attrgetter(*(name for name in BuildRequest.__struct_fields__ if name not in ("variables", *_LIVES)))

MOST_WAITING = 100
"""While so many builds wait for their sources, only sources are started: each build that waits has a process."""


class Groups:
    """Build ids by what the builds have in common."""

    def __init__(self) -> None:
        self._ids: defaultdict[Hashable, set[str]] = defaultdict(set)

    def add(self, key: Hashable, build_id: str) -> None:
        """Put a build into a group."""
        self._ids[key].add(build_id)

    def remove(self, key: Hashable, build_id: str) -> None:
        """Take a build out of its group."""
        members = self._ids[key]
        members.remove(build_id)
        if not members:
            del self._ids[key]

    def __contains__(self, key: object) -> bool:
        return key in self._ids

    def members(self, key: Hashable) -> set[str]:
        """The builds of a group."""
        return self._ids.get(key, set())

    def all(self) -> Iterator[str]:
        """The builds of all groups."""
        return chain.from_iterable(self._ids.values())

    def larger_than(self, size: int) -> set[Hashable]:
        """The groups of more than ``size`` builds."""
        return {key for key, members in self._ids.items() if len(members) > size}


class Unfinished:
    """Builds by id, by state, by stream, by user, and by what was asked for."""

    def __init__(self) -> None:
        self._records: dict[str, BuildRecord] = {}
        self._line = Line()
        self._same = Groups()
        self._alike = Groups()
        self._states = Groups()
        self._streams = Groups()
        self._users = Groups()

    def put(self, record: BuildRecord) -> None:
        """Take up a build, or its new record."""
        if record.build_id in self._records:
            self.take(record.build_id)
        self._records[record.build_id] = record
        for group, key in self._groups(record):
            group.add(key, record.build_id)
        if record.state is State.QUEUED:
            self._line.add(record)

    def take(self, build_id: str) -> BuildRecord:
        """Let go of a build; its last record."""
        record = self._records.pop(build_id)
        for group, key in self._groups(record):
            group.remove(key, build_id)
        if record.state is State.QUEUED:
            self._line.remove(record)
        return record

    def _groups(self, record: BuildRecord) -> Iterator[tuple[Groups, Hashable]]:
        yield self._states, record.state
        yield self._alike, _meaning(record.request)
        if record.state is State.QUEUED:
            yield self._same, _words(record.request)
        else:
            yield self._streams, record.request.stream_name
            yield self._users, limited_user(record)

    def get(self, build_id: str) -> BuildRecord | None:
        """A build."""
        return self._records.get(build_id)

    def active(self) -> list[BuildRecord]:
        """The builds that run or wait for their source, oldest first."""
        return [self._records[build_id] for build_id in sorted(self._streams.all())]

    def queued(self) -> list[BuildRecord]:
        """The queued builds in the order of their turns."""
        return [self._records[build_id] for build_id in self._line]

    def place(self, record: BuildRecord) -> int:
        """Where a build stands in the line of queued ones; 0 for others."""
        return self._line.place(record) if record.state is State.QUEUED else 0

    def next(self, per_user: int) -> BuildRecord | None:
        """The first build that may start: its stream is not being built, its user has fewer than ``per_user``."""
        build_id = self._line.first(self._streams, self._full(per_user), self._many_wait())
        return self._records[build_id] if build_id else None

    def may_start(self, record: BuildRecord, per_user: int) -> bool:
        """Whether a new build would be the next to start."""
        passed_over = record.request.stream_name in self._streams or limited_user(record) in self._full(per_user)
        return not (passed_over or self._many_wait()) and self.next(per_user) is None

    def _many_wait(self) -> bool:
        return len(self._states.members(State.WAITING)) >= MOST_WAITING

    def _full(self, per_user: int) -> set[Hashable]:
        """The users who have as many builds as they may; nobody in particular may have any number."""
        return self._users.larger_than(per_user - 1) - {NOBODY, SOURCES}

    def active_of(self, stream: str) -> BuildRecord | None:
        """The build of a stream that runs or waits for its source."""
        return self._oldest(self._streams.members(stream))

    def identical(self, request: BuildRequest) -> BuildRecord | None:
        """A queued build that was asked for with the same words, its expiry apart."""
        return self._oldest(self._same.members(_words(request)))

    def equivalent(self, request: BuildRequest) -> BuildRecord | None:
        """An unfinished build whose image would serve as well: same stream, branch and variables."""
        return self._oldest(self._alike.members(_meaning(request)))

    def _oldest(self, build_ids: set[str]) -> BuildRecord | None:
        return self._records[min(build_ids)] if build_ids else None


def _meaning(request: BuildRequest) -> Hashable:
    return request.stream_name, request.git_branch, frozenset(request.variables.items())


def _words(request: BuildRequest) -> Hashable:
    return _words_of(request), frozenset(request.variables.items())
