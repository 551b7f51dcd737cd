"""Extensions: how many go into one write, and what those are told who wait for it."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.python.failure import Failure

from imaginator.model.errors import StoreUnwritable
from imaginator.schedule.extending import Extensions


class Book:
    """What was written; each write ends when it is told how."""

    def __init__(self) -> None:
        self.extensions = Extensions(self._write)
        self.written: list[list[str]] = []
        self.under_way: Deferred[None] = Deferred()
        self.told: dict[str, object] = {}

    def _write(self, names: Sequence[str]) -> Deferred[None]:
        self.written.append(list(names))
        self.under_way = Deferred()
        return self.under_way

    def add(self, name: str) -> Deferred[None]:
        """Ask for an extension, and note what is told of it."""
        asked = ensureDeferred(self.extensions.add(name))
        asked.addBoth(lambda outcome: self.told.update({name: outcome and outcome.type}))
        return asked


def test_what_comes_meanwhile_goes_together() -> None:
    """The first at once; whoever has waited is told when the own write has ended, and of its failure alone."""
    book = Book()
    for name in ("a", "b", "c"):
        book.add(name)
    assert ([["a"]], {}) == (book.written, book.told)
    book.under_way.callback(None)
    book.add("d")
    assert ([["a"], ["b", "c"]], {"a": None}) == (book.written, book.told)
    book.under_way.errback(Failure(StoreUnwritable("full")))
    book.under_way.callback(None)

    assert [["a"], ["b", "c"], ["d"]] == book.written
    assert {"a": None, "b": StoreUnwritable, "c": StoreUnwritable, "d": None} == book.told
    book.add("e")
    assert ["e"] == book.written[-1]


def test_one_who_goes_away() -> None:
    """The others are told, and the next ones written."""
    book = Book()
    book.add("a")
    gone = book.add("b")
    book.add("c")
    gone.cancel()
    for _ in range(2):
        book.under_way.callback(None)

    assert {"b": CancelledError, "a": None, "c": None} == book.told
    assert [["a"], ["b", "c"]] == book.written
