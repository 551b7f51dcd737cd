"""Which build may start, which are the same, and what a restart makes of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import pytest_twisted

from imaginator.model.build import BuildRecord, BuildRequest, State
from imaginator.schedule.queue import AUTOMATON, INTERRUPTED, Queue, startable
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


def test_one_build_of_a_stream() -> None:
    """A stream that is being built waits, the next one starts."""
    queued = [record(2, "a", "bob"), record(3, "b", "bob")]

    assert queued[1] == startable(queued, [record(1, "a")], per_user=1)


def test_a_users_limit() -> None:
    """It holds for unprivileged users, and neither for privileged ones nor for the daemon itself."""
    mine = record(2, "b")

    assert startable([mine], [record(1, "a")], per_user=1) is None
    assert mine == startable([mine], [record(1, "a")], per_user=2)
    assert mine == startable([mine], [record(1, "a", privileged=True)], per_user=1)
    for other in (record(3, "c", privileged=True), record(3, "c", requester="")):
        assert other == startable([mine, other], [record(1, "a")], per_user=1)


def test_people_come_first() -> None:
    """The oldest request of a person is before every automatic rebuild."""
    automatic, older, younger = record(1, "a", AUTOMATON, privileged=True), record(2, "b"), record(3, "c", "bob")

    assert older == startable([automatic, older, younger], [], per_user=1)


@pytest.mark.parametrize(
    ("state", "attempt", "expected"),
    [
        (State.QUEUED, 0, (State.QUEUED, 0)),
        (State.QUEUED, 1, (State.QUEUED, 1)),
        (State.RUNNING, 1, (State.QUEUED, 1)),
        (State.RUNNING, 2, (State.FAILED, 2)),
    ],
)
@pytest_twisted.ensureDeferred
async def test_what_a_crash_left(tmp_path: Path, state: State, attempt: int, expected: tuple[State, int]) -> None:
    """Queued builds stay queued, running ones are run once more, and then have failed."""
    async with running_store(tmp_path) as parts:
        history = History(parts.catalogue)
        left = record(1, "a", state=state, attempt=attempt)
        await history.insert(left)
        await Queue(history, lambda: START).load()
        found = await history.get(left.build_id)

        assert expected == (found.state, found.attempt)
        assert (found.failure.message if found.failure else "") == (INTERRUPTED if attempt == 2 else "")


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
