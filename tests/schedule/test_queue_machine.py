"""The queue against the rules in plain words, over random lives of builds."""

from __future__ import annotations

from collections.abc import Coroutine, Iterator
from typing import Any, cast

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from twisted.internet.defer import Deferred

from imaginator.model.build import BuildRecord, BuildRequest, State
from imaginator.schedule.queue import Queue
from imaginator.store.history import History
from tests.support.store_parts import START

STREAMS = st.sampled_from(["a", "b", "c"])
USERS = st.sampled_from(["ann", "bob", ""])
PER_USER = 1
REQUESTS = st.builds(
    BuildRequest,
    stream_name=STREAMS,
    git_branch=st.sampled_from(["", "next"]),
    expires_in=st.sampled_from([1.0, 2.0]),
    max_source_age=st.sampled_from([0.0, 60.0]),
    variables=st.sampled_from([{}, {"A": "b", "C": "d"}, {"C": "d", "A": "b"}]),
)
ENDS = st.sampled_from([state for state in State if state.final])


class Notebook:
    """A history that answers at once."""

    def __init__(self) -> None:
        self.records: dict[str, BuildRecord] = {}

    async def insert(self, record: BuildRecord) -> None:
        """Write down a new build."""
        self.records[record.build_id] = record

    async def update(self, record: BuildRecord) -> None:
        """Write down what became of a build."""
        assert not self.records[record.build_id].state.final
        self.records[record.build_id] = record


def now(work: Coroutine[Deferred[Any], Any, Any]) -> Any:
    """What a coroutine returns that waits for nothing."""
    results: list[Any] = []
    Deferred.fromCoroutine(work).addCallback(results.append)
    return results[0]


def startable(unfinished: list[BuildRecord]) -> BuildRecord | None:
    """The first build that may start, by the rules read one after another."""
    active = [one for one in unfinished if one.state is not State.QUEUED]
    streams = {one.request.stream_name for one in active}
    users = [one.requester for one in active if one.requester and not (one.privileged or one.parent)]
    allowed = [
        one
        for one in unfinished
        if one.state is State.QUEUED
        and one.request.stream_name not in streams
        and (one.privileged or one.parent or users.count(one.requester) < PER_USER)
    ]
    return min(allowed, key=turn, default=None)


def turn(one: BuildRecord) -> tuple[bool, str, str]:
    """People first, then by age, a source by that of the build which waits for it where that is older."""
    return not one.for_people, min(one.parent or one.build_id, one.build_id), one.build_id


class Lives(RuleBasedStateMachine):
    """Builds are asked for, start, wait for each other, and end."""

    def __init__(self) -> None:
        super().__init__()
        self.notebook = Notebook()
        self.queue = Queue(cast(History, self.notebook), lambda: START)
        self.waits: dict[str, str] = {}

    def unfinished(self, *states: State) -> list[BuildRecord]:
        """Builds as the disk has them, oldest first."""
        found = sorted(self.notebook.records.values(), key=lambda record: record.build_id)
        return [one for one in found if (one.state in states if states else not one.state.final)]

    def pick(self, data: st.DataObject, *states: State) -> BuildRecord:
        """One build in one of these states."""
        return data.draw(st.sampled_from(self.unfinished(*states)))

    @rule(request=REQUESTS, user=USERS, privileged=st.booleans(), for_people=st.booleans())
    def submit(self, request: BuildRequest, user: str, privileged: bool, for_people: bool) -> None:
        """A request arrives."""
        now(
            self.queue.add(
                BuildRecord(
                    build_id=self.queue.new_id(),
                    request=request,
                    requester=user,
                    submitted_at=START,
                    privileged=privileged,
                    for_people=for_people,
                )
            )
        )

    @precondition(lambda self: startable(self.unfinished()) is not None)
    @rule()
    def start(self) -> None:
        """The next build starts."""
        record = self.queue.next(PER_USER)
        assert record is not None
        now(self.queue.change(record, state=State.RUNNING))

    @precondition(lambda self: self.unfinished(State.RUNNING) and len(self.unfinished()) > 1)
    @rule(data=st.data())
    def wait(self, data: st.DataObject) -> None:
        """A running build begins to wait for another one, never in a circle."""
        waiter = self.pick(data, State.RUNNING)
        others = [one for one in self.unfinished() if waiter.build_id not in self.chain(one.build_id)]
        if others:
            self.waits[waiter.build_id] = data.draw(st.sampled_from(others)).build_id
            now(self.queue.begin_to_wait(waiter.build_id, self.waits[waiter.build_id]))

    def chain(self, build_id: str) -> Iterator[str]:
        """A build, what it waits for, what that waits for, and so on."""
        following: str | None = build_id
        while following:
            yield following
            following = self.waits.get(following)

    @precondition(lambda self: self.waits)
    @rule(data=st.data())
    def go_on(self, data: st.DataObject) -> None:
        """A build waits no longer."""
        waiter = data.draw(st.sampled_from(sorted(self.waits)))
        del self.waits[waiter]
        self.queue.stop_waiting(waiter)
        now(self.queue.change(self.notebook.records[waiter]))

    @precondition(lambda self: self.unfinished(State.RUNNING, State.QUEUED))
    @rule(data=st.data(), state=ENDS)
    def end(self, data: st.DataObject, state: State) -> None:
        """A build ends."""
        now(self.queue.change(self.pick(data, State.RUNNING, State.QUEUED), state=state))

    @precondition(lambda self: self.unfinished(State.RUNNING))
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        """A running build goes back to the queue."""
        now(self.queue.change(self.pick(data, State.RUNNING), state=State.QUEUED))

    @invariant()
    def memory_is_the_disk(self) -> None:
        """Queued builds stand in order of their turns, active ones by age."""
        in_order = sorted(self.unfinished(State.QUEUED), key=turn)

        assert in_order == self.queue.queued()
        assert list(range(1, len(in_order) + 1)) == [self.queue.place(one) for one in in_order]
        assert self.unfinished(State.RUNNING, State.WAITING) == self.queue.active()

    @invariant()
    def the_rules_hold(self) -> None:
        """The next build is the one that the rules say; whoever a person waits for is a person's."""
        assert startable(self.unfinished()) == self.queue.next(PER_USER)
        for waiter, awaited in self.waits.items():
            other = self.queue.get(awaited)
            assert other is None or other.parent
            assert other is None or other.for_people or not self.notebook.records[waiter].for_people

    @rule(request=REQUESTS)
    def look_for_the_same(self, request: BuildRequest) -> None:
        """The oldest identical queued build, and the oldest whose image would serve as well."""
        same = [
            one
            for one in self.unfinished(State.QUEUED)
            if msgspec.structs.replace(one.request, expires_in=request.expires_in) == request
        ]
        alike = [
            one
            for one in self.unfinished()
            if (one.request.stream_name, one.request.git_branch, one.request.variables)
            == (request.stream_name, request.git_branch, request.variables)
        ]

        assert next(iter(same), None) == self.queue.identical(request)
        assert next(iter(alike), None) == self.queue.equivalent(request)


TestLives = Lives.TestCase
TestLives.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
