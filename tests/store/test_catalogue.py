"""Writes of the catalogue: together on disk, alone in failure."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, DeferredList

from imaginator.model.errors import NotFound, StoreUnwritable
from imaginator.store.catalogue import MOST_TOGETHER, Catalogue, migrations
from tests.support.store_parts import running_store


def insert(connection: sqlite3.Connection, number: int) -> int:
    """A row of its own."""
    connection.execute("INSERT INTO nodes VALUES (?, ?)", (number.to_bytes(4, "big"), bytes(1000)))
    return number


def fail(connection: sqlite3.Connection, number: int) -> None:
    """A row, and then an error."""
    insert(connection, number)
    raise NotFound(f"number {number}")


def numbers(path: Path) -> list[int]:
    """The rows that are on disk, as another process sees them."""
    with sqlite3.connect(path) as connection:
        return [int.from_bytes(found[0], "big") for found in connection.execute("SELECT id FROM nodes ORDER BY id")]


class Held:
    """Keeps the writing thread busy from construction to `let_go`."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._begun = threading.Event()
        self._free = threading.Event()
        self.done = catalogue.write(self._hold)
        self._begun.wait(10)

    def _hold(self, _connection: sqlite3.Connection) -> None:
        self._begun.set()
        self._free.wait(10)

    def let_go(self) -> None:
        """Let the writing thread go on."""
        self._free.set()


def transactions(connection: sqlite3.Connection) -> list[str]:
    """A list that grows with each transaction of this connection."""
    begun: list[str] = []
    connection.set_trace_callback(lambda text: begun.append(text) if text.startswith("BEGIN") else None)
    return begun


@pytest_twisted.ensureDeferred
async def test_a_catalogue_of_an_older_program(tmp_path: Path) -> None:
    """It is brought up to date with all that it holds."""
    with sqlite3.connect(tmp_path / "catalogue.sqlite") as connection:
        connection.executescript(f"{''.join(migrations()[:2])} PRAGMA user_version=2;")
        connection.execute("INSERT INTO nodes VALUES (?, 0, ?)", (bytes(4), b"data"))
    async with running_store(tmp_path) as parts:
        await parts.catalogue.write(partial(insert, number=1))

    assert [0, 1] == numbers(tmp_path / "catalogue.sqlite")


@pytest_twisted.ensureDeferred
async def test_writes_that_wait_share_a_transaction(tmp_path: Path) -> None:
    """What comes meanwhile is committed at once, each with its own answer, and no more together than the limit says."""
    async with running_store(tmp_path) as parts:
        begun = await parts.catalogue.write(transactions)
        held = Held(parts.catalogue)
        writes = [parts.catalogue.write(partial(insert, number=number)) for number in range(MOST_TOGETHER + 1)]
        held.let_go()
        await held.done
        answers = await DeferredList(writes, fireOnOneErrback=True)

        assert list(range(MOST_TOGETHER + 1)) == [answer for _, answer in answers]
        assert list(range(MOST_TOGETHER + 1)) == numbers(tmp_path / "catalogue.sqlite")
        assert 3 >= len(begun)


@pytest_twisted.ensureDeferred
async def test_a_write_that_fails_fails_alone(tmp_path: Path) -> None:
    """What it had done is undone; its neighbours in the transaction are on disk."""
    async with running_store(tmp_path) as parts:
        held = Held(parts.catalogue)
        works: list[Callable[..., Any]] = [insert, fail, insert]
        writes: list[Deferred[Any]] = [
            parts.catalogue.write(partial(work, number=number)) for number, work in enumerate(works)
        ]
        held.let_go()
        results = await DeferredList([held.done, *writes], consumeErrors=True)

        assert [True, True, False, True] == [good for good, _ in results]
        assert NotFound is results[2][1].type
        assert [0, 2] == numbers(tmp_path / "catalogue.sqlite")


@pytest_twisted.ensureDeferred
async def test_nothing_is_told_before_it_is_on_disk(tmp_path: Path) -> None:
    """Whoever gets an answer finds the row from outside; also the first of several."""
    async with running_store(tmp_path) as parts:
        held = Held(parts.catalogue)
        seen: list[bool] = []

        def look(number: int) -> None:
            seen.append(number in numbers(tmp_path / "catalogue.sqlite"))

        writes = [parts.catalogue.write(partial(insert, number=number)).addCallback(look) for number in range(3)]
        held.let_go()
        await DeferredList([held.done, *writes], fireOnOneErrback=True)

        assert [True] * 3 == seen


@pytest_twisted.ensureDeferred
async def test_a_full_disk(tmp_path: Path) -> None:
    """It fails all that would have been committed together, and nothing of it stays; later writes succeed."""
    async with running_store(tmp_path) as parts:
        (size,) = await parts.catalogue.write(lambda connection: connection.execute("PRAGMA page_count").fetchone())
        await parts.catalogue.write(
            lambda connection: connection.execute(f"PRAGMA max_page_count={size + 5}").fetchone()
        )
        held = Held(parts.catalogue)
        writes = [parts.catalogue.write(partial(insert, number=number)) for number in range(100)]
        held.let_go()
        results: list[tuple[bool, Any]] = await DeferredList(writes, consumeErrors=True)
        await held.done
        left = numbers(tmp_path / "catalogue.sqlite")
        trouble = parts.catalogue.trouble
        await parts.catalogue.write(partial(insert, number=1000))

        assert f"{tmp_path}/catalogue.sqlite cannot be written: database or disk is full" == trouble
        assert "" == parts.catalogue.trouble
        assert {StoreUnwritable} == {failure.type for good, failure in results if not good}
        assert 100 == len(results) == sum(not good for good, _ in results)
        assert [] == left
        assert [1000] == numbers(tmp_path / "catalogue.sqlite")


@pytest.mark.parametrize("waiting", [1, 5])
@pytest_twisted.ensureDeferred
async def test_the_end_waits_for_what_was_begun(tmp_path: Path, waiting: int) -> None:
    """Writes that were asked for before the service stopped are on disk."""
    async with running_store(tmp_path) as parts:
        writes = [parts.catalogue.write(partial(insert, number=number)) for number in range(waiting)]

    await DeferredList(writes, fireOnOneErrback=True)
    assert list(range(waiting)) == numbers(tmp_path / "catalogue.sqlite")
