"""Which build may start, what a restart makes of them, and that their number does not matter."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import pytest_twisted
from msgspec.structs import replace

from imaginator.model.build import BuildRecord, BuildRequest, State
from imaginator.schedule.queue import AUTOMATON, INTERRUPTED, Queue
from imaginator.schedule.unfinished import MOST_WAITING, Unfinished
from imaginator.store.history import History
from tests.support.store_parts import START, running_store


def record(number: int, stream: str, requester: str = "ann", **fields: object) -> BuildRecord:
    """A build, queued unless said otherwise."""
    request = BuildRequest(stream_name=stream, expires_in=3600)
    return BuildRecord(
        build_id=f"{number:026}",
        request=request,
        requester=requester,
        submitted_at=START,
        **fields,  # type: ignore[arg-type]
    )


def unfinished(*records: BuildRecord) -> Unfinished:
    """These builds in memory."""
    found = Unfinished()
    for one in records:
        found.put(one)
    return found


def test_one_build_of_a_stream() -> None:
    """A stream that is being built waits, the next one starts."""
    first, second, third = record(1, "a", state=State.WAITING), record(2, "a", "bob"), record(3, "b", "bob")

    assert third == unfinished(first, second, third).next(1)


def test_a_users_limit() -> None:
    """It holds for unprivileged users, and neither for privileged ones nor for the daemon itself."""
    running, mine = record(1, "a", state=State.RUNNING), record(2, "b")

    assert unfinished(running, mine).next(1) is None
    assert mine == unfinished(running, mine).next(2)
    assert mine == unfinished(record(1, "a", state=State.RUNNING, privileged=True), mine).next(1)
    for other in (record(3, "c", privileged=True), record(3, "c", requester="")):
        assert other == unfinished(running, mine, other).next(1)


def test_people_come_first() -> None:
    """The oldest request of a person is before every automatic rebuild; places count so."""
    automatic, older, younger = (
        record(1, "a", AUTOMATON, privileged=True),
        record(2, "b", for_people=True),
        record(3, "c", "bob", for_people=True),
    )
    builds = unfinished(automatic, older, younger)

    assert older == builds.next(1)
    assert [3, 1, 2] == [builds.place(one) for one in (automatic, older, younger)]
    assert [older, younger, automatic] == builds.queued()


def test_whether_a_new_build_would_start() -> None:
    """Not behind one that can start, nor beside one of its stream or beyond its user's limit."""
    running, blocked = record(1, "a", state=State.RUNNING), record(2, "a", "bob")
    builds = unfinished(running, blocked)

    assert builds.may_start(record(3, "b", "bob"), 1)
    assert not builds.may_start(record(3, "a", "bob"), 1)
    assert not builds.may_start(record(3, "b", "ann"), 1)
    builds.put(record(4, "c", "bob"))
    assert not builds.may_start(record(5, "b", "carl"), 1)


def test_many_that_wait() -> None:
    """Only what others wait for is started then: each of those has a process and a workspace."""
    waiting = [record(number, f"over/{number}", privileged=True, state=State.WAITING) for number in range(MOST_WAITING)]
    late, source = record(200, "z", "bob", for_people=True), record(300, "s", "", parent=waiting[0].build_id)

    assert late == unfinished(*waiting[1:], late, source).next(1)
    assert source == unfinished(*waiting, late, source).next(1)
    assert unfinished(*waiting, late).next(1) is None
    assert not unfinished(*waiting).may_start(late, 1)


@pytest_twisted.ensureDeferred
async def test_ids_are_in_order_whatever_the_clock_does(tmp_path: Path) -> None:
    """After a restart with the clock set back, a new build stands behind the older ones."""
    async with running_store(tmp_path) as parts:
        history = History(parts.catalogue)
        before, after = Queue(history, lambda: START), Queue(history, lambda: START - timedelta(days=1))
        ids = [before.new_id() for _ in range(100)]
        await before.add(replace(record(1, "a"), build_id=ids[-1]))
        await after.load()

        assert sorted({*ids, newest := after.new_id()}) == [*ids, newest]


@pytest.mark.parametrize(
    ("state", "attempt", "expected"),
    [
        (State.QUEUED, 0, (State.QUEUED, 0)),
        (State.QUEUED, 1, (State.QUEUED, 1)),
        (State.RUNNING, 1, (State.QUEUED, 1)),
        (State.RUNNING, 2, (State.FAILED, 2)),
        (State.WAITING, 1, (State.QUEUED, 0)),
        (State.WAITING, 2, (State.QUEUED, 1)),
    ],
)
@pytest_twisted.ensureDeferred
async def test_what_a_crash_left(tmp_path: Path, state: State, attempt: int, expected: tuple[State, int]) -> None:
    """Queued builds stay queued, running ones are run once more, and then fail; waiting ones get their start back."""
    async with running_store(tmp_path) as parts:
        history = History(parts.catalogue)
        left = record(1, "a", state=state, attempt=attempt)
        await history.insert(left)
        await Queue(history, lambda: START).load()
        found = await history.get(left.build_id)

        assert expected == (found.state, found.attempt)
        assert (found.failure.message if found.failure else "") == (INTERRUPTED if found.state.final else "")


@pytest_twisted.ensureDeferred
async def test_identical_and_equivalent_requests(tmp_path: Path) -> None:
    """Expiry alone does not make a request another one; for an equivalent one stream, branch and variables count."""
    async with running_store(tmp_path) as parts:
        queue = Queue(History(parts.catalogue), lambda: START)
        known = record(1, "a")
        await queue.add(known)
        longer = BuildRequest(stream_name="a", expires_in=7200)
        younger = BuildRequest(stream_name="a", expires_in=3600, max_source_age=60)
        branch = BuildRequest(stream_name="a", expires_in=3600, git_branch="next")

        assert [known, None, None] == [queue.identical(request) for request in (longer, younger, branch)]
        assert [known, known, None] == [queue.equivalent(request) for request in (longer, younger, branch)]
