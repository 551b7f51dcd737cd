"""The catalogue: ``catalogue.sqlite``, in which images, nodes, layers and builds are written down.

SQLite in WAL mode, with ``synchronous=FULL``: a commit is on the disk when it returns. Locking: all writes go through
one thread; readers have a connection per thread and see the last commit. Writes that come while one is being committed
go into the next transaction together, each in a savepoint of its own, so that they share the disk's time and one that
fails fails alone. ``user_version`` is the number of the last file of ``migrations/`` that was applied; one file is one
transaction.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads

from imaginator.model.errors import StoreCorrupt
from imaginator.store.workers import Workers

READERS = 3
BUSY_TIMEOUT = 10.0
"""Seconds to wait for another process (a backup, say) that holds the file."""

MOST_TOGETHER = 200
"""How many writes go into one transaction at most: none is to wait long for others."""

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]


class _Write:
    """A write that waits for its transaction; ``outcome`` is settled once that is on disk, or has failed."""

    def __init__(self, work: Work[Any]) -> None:
        self.work = work
        self.outcome: Future[Any] = Future()

    def attempt(self, connection: sqlite3.Connection) -> Callable[[], None]:
        """Do the work in a savepoint; what settles the outcome, once the transaction is on disk."""
        connection.execute("SAVEPOINT one")
        try:
            result = self.work(connection)
        except Exception as error:
            if not connection.in_transaction:
                raise  # the disk is full, say: SQLite has rolled back all of it
            connection.execute("ROLLBACK TO one")
            settle = partial(self.outcome.set_exception, error)
        else:
            settle = partial(self.outcome.set_result, result)
        connection.execute("RELEASE one")
        return settle


class Catalogue(Service):
    """The database at ``path``, made or brought up to date when the service starts.

    ``startService`` raises `StoreCorrupt` for a file that is no database or that a newer program has written.
    """

    def __init__(self, path: Path, reactor: IReactorFromThreads) -> None:
        self._path = path
        self._writer = Workers(1, reactor)
        self._readers = Workers(READERS, reactor)
        self._local = threading.local()
        self._opened: list[sqlite3.Connection] = []
        self._waiting: deque[_Write] = deque()

    def startService(self) -> None:  # noqa: N802 - Twisted's name
        """Migrate, then start the threads."""
        super().startService()
        try:
            with _opened(self._path) as connection:
                _migrate(connection, self._path)
        except sqlite3.DatabaseError as error:
            raise StoreCorrupt(f"{self._path}: {error}") from error
        self._writer.startService()
        self._readers.startService()

    def stopService(self) -> None:  # noqa: N802 - Twisted's name
        """Finish what was begun and close the file."""
        super().stopService()
        self._writer.stopService()
        self._readers.stopService()
        while self._opened:
            self._opened.pop().close()

    def write(self, work: Work[T]) -> Deferred[T]:
        """What ``work`` returns, once that is on disk; an exception undoes what ``work`` has done."""
        write = _Write(work)
        self._waiting.append(write)
        return self._writer.run(self._settled, write)

    def read(self, work: Work[T]) -> Deferred[T]:
        """What ``work`` returns, run in a reader's thread."""
        return self._readers.run(self.read_now, work)

    def read_now(self, work: Work[T]) -> T:
        """What ``work`` returns, run in this thread: for worker threads, since it blocks."""
        return work(self._connection())

    def _settled(self, write: _Write) -> Any:
        """The outcome of a write, which an earlier one's transaction may have had room for."""
        if not write.outcome.done():
            self._commit([self._waiting.popleft() for _ in range(min(len(self._waiting), MOST_TOGETHER))])
        return write.outcome.result(timeout=0)

    def _commit(self, writes: Sequence[_Write]) -> None:
        try:
            with _transaction(self._connection()) as connection:
                settle = [write.attempt(connection) for write in writes]
        except BaseException as error:
            settle = [partial(write.outcome.set_exception, error) for write in writes]
        for one in settle:
            one()

    def _connection(self) -> sqlite3.Connection:
        """This thread's connection."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = _connect(self._path)
            self._opened.append(connection)
        return connection


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")
    return connection


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    connection = _connect(path)
    try:
        yield connection
    finally:
        connection.close()


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def migrations() -> list[str]:
    """The SQL of every migration, in order; the first leads to version 1."""
    files = resources.files("imaginator.store").joinpath("migrations").iterdir()
    return [file.read_text() for file in sorted(files, key=lambda file: file.name) if file.name.endswith(".sql")]


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    steps = migrations()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(steps):
        raise StoreCorrupt(f"{path}: version {version} is of a newer program, this one knows up to {len(steps)}")
    for number, script in enumerate(steps[version:], version + 1):
        # executescript begins and ends no transaction of its own where the script does.
        connection.executescript(f"BEGIN IMMEDIATE;\n{script}\nPRAGMA user_version={number};\nCOMMIT;")
