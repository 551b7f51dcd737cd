"""The latest changes of builds, as those who watch read them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from imaginator.model.build import BuildRecord, BuildRequest
from imaginator.schedule.events import KEPT, TOGETHER, Events


def change(number: int) -> BuildRecord:
    """A build's record."""
    request = BuildRequest(stream_name=f"s{number}")
    return BuildRecord(
        build_id=str(number), request=request, requester="", submitted_at=datetime(2026, 11, 22, tzinfo=UTC)
    )


def test_reading_on() -> None:
    """Each reads the changes after the number that it knows."""
    events = Events()
    for number in (1, 2, 3):
        events.tell(change(number))

    assert [[change(1), change(2), change(3)], [change(3)], []] == [events.since(number) for number in (0, 2, 3)]


def test_missed() -> None:
    """Who is too far behind is told so, and whoever has a number that was never given."""
    events = Events()
    for number in range(KEPT + 1):
        events.tell(change(number))

    assert [None, None, None] == [events.since(number) for number in (-1, 0, KEPT + 2)]
    assert KEPT == len(events.since(1) or ())


def test_waiting() -> None:
    """Whoever waits is woken by the next change, once; one who has gone is forgotten."""
    events = Events()
    woken: list[None] = []
    gone: list[Failure] = []
    events.later().addCallback(woken.append)
    leaving = events.later().addErrback(gone.append)
    leaving.cancel()
    events.tell(change(1))
    events.tell(change(2))

    assert [None] == woken
    assert [CancelledError] == [failure.type for failure in gone]


def test_giving_way() -> None:
    """Many are woken in several turns, first come first; of changes meanwhile everybody is told, and nobody twice."""
    events = Events()
    turns: list[Callable[[], None]] = []
    events.give_way = turns.append
    woken: list[int] = []

    def watch(number: int) -> Deferred[None]:
        return events.later().addCallbacks(lambda _: woken.append(number), lambda _: None)

    watchers = [watch(number) for number in range(2 * TOGETHER + 2)]
    events.tell(change(1))
    first = len(woken)
    late = watch(100)
    watchers[TOGETHER].cancel()
    events.tell(change(2))
    counts = []
    while turns:
        turns.pop()()
        counts.append(len(woken))
    events.tell(change(3))

    assert (TOGETHER, [2 * TOGETHER, 2 * TOGETHER + 2]) == (first, counts)
    assert [*range(TOGETHER), *range(TOGETHER + 1, 2 * TOGETHER + 2), 100] == woken
    assert (0, True) == (events.watchers, late.called)


def test_a_watcher_that_changes_something() -> None:
    """It wakes nobody within itself: its own change is told after it."""
    events = Events()
    order: list[str] = []

    def change_more(_: None) -> None:
        events.tell(change(2))
        order.append("first")

    events.later().addCallback(change_more)
    events.later().addCallback(lambda _: order.append("second"))
    events.tell(change(1))

    assert ["first", "second"] == order
