"""The catalogue: ``catalogue.sqlite``, in which images, nodes, layers and builds are written down.

SQLite in WAL mode, with ``synchronous=FULL``: a commit is on the disk when it returns. Locking: all writes go through
one thread; readers have a connection per thread and see the last commit. Writes that come while one is being committed
go into the next transaction together, each in a savepoint of its own, so that they share the disk's time and one that
fails fails alone. ``user_version`` is the number of the last file of ``migrations/`` that was applied; all that are
missing are one transaction. What there is before it is kept as ``catalogue-VERSION.sqlite``, of which the last stays.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager, suppress
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.logger import Logger
from twisted.python.failure import Failure

from imaginator.model.errors import StoreCorrupt, StoreUnwritable
from imaginator.store.workers import Workers

READERS = 3
BUSY_TIMEOUT = 10.0
"""Seconds to wait for another process (a backup, say) that holds the file."""

MOST_TOGETHER = 200
"""How many writes go into one transaction at most: none is to wait long for others."""

_OF_THE_DISK = frozenset(
    {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY}
)
"""SQLite's errors for which the disk can be blamed, or another process that holds the file; they may pass."""
_KIND = 0xFF
"""The bits of SQLite's extended codes that tell the kind of error."""

_log = Logger()

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
    ``trouble`` says why the last write could not be done, empty where it could; ``commits`` counts transactions.
    """

    def __init__(self, path: Path, reactor: IReactorFromThreads) -> None:
        self._path = path
        self._writer = Workers(1, reactor)
        self._readers = Workers(READERS, reactor)
        self._local = threading.local()
        self._opened: list[sqlite3.Connection] = []
        self._waiting: deque[_Write] = deque()
        self.trouble = ""
        self.commits = 0

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
        """What ``work`` returns, once that is on disk; an exception undoes what ``work`` has done.

        Raises `StoreUnwritable` where the disk does not take it.
        """
        write = _Write(work)
        self._waiting.append(write)
        return self._writer.run(self._settled, write)

    async def write_through(self, work: Work[T]) -> T:
        """As `write`; who is cancelled meanwhile waits on and gets the result, since it is written all the same."""
        written = self.write(work)
        while True:
            observed: Deferred[T] = Deferred()
            written.addBoth(_told, observed)
            with suppress(CancelledError):
                return await observed

    def probe(self) -> Deferred[None]:
        """Write what is there already; raises `StoreUnwritable`."""
        return self.write(_rewrite)

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
        try:
            result = write.outcome.result(timeout=0)
        except sqlite3.OperationalError as error:
            kind = getattr(error, "sqlite_errorcode", 0) & _KIND
            if kind not in _OF_THE_DISK:
                raise
            if kind == sqlite3.SQLITE_READONLY:
                self._let_go()
            self.trouble = f"{self._path} cannot be written: {error}"
            raise StoreUnwritable(self.trouble) from error
        self.trouble = ""
        return result

    def _commit(self, writes: Sequence[_Write]) -> None:
        try:
            with _transaction(self._connection()) as connection:
                settle = [write.attempt(connection) for write in writes]
            self.commits += 1
        except BaseException as error:
            settle = [partial(write.outcome.set_exception, error) for write in writes]
        for one in settle:
            one()

    def _let_go(self) -> None:
        """Close this thread's connection: one that was opened while the disk was read-only would remain so."""
        connection: sqlite3.Connection | None = self._local.__dict__.pop("connection", None)
        if connection is not None:
            self._opened.remove(connection)
            connection.close()

    def _connection(self) -> sqlite3.Connection:
        """This thread's connection."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = _connect(self._path)
            self._opened.append(connection)
        return connection


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
    try:
        for setting in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {setting}")
    except BaseException:
        connection.close()
        raise
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


def _told(result: T | Failure, observed: Deferred[T]) -> T | Failure | None:
    """Tell a result to who waits for it, if anybody does still; what the next one is told."""
    if observed.called:
        return result
    observed.callback(result)
    return None


def _rewrite(connection: sqlite3.Connection) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    connection.execute(f"PRAGMA user_version={version}")


def migrations() -> list[str]:
    """The SQL of every migration, in order; the first leads to version 1."""
    files = resources.files("imaginator.store").joinpath("migrations").iterdir()
    return [file.read_text() for file in sorted(files, key=lambda file: file.name) if file.name.endswith(".sql")]


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    steps = migrations()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(steps):
        raise StoreCorrupt(f"{path}: version {version} is of a newer program, this one knows up to {len(steps)}")
    if 0 < version < len(steps):
        _back_up(connection, path, version)
    script = "".join(
        f"{step}\nPRAGMA user_version={number};\n" for number, step in enumerate(steps, 1) if number > version
    )
    # executescript begins and ends no transaction of its own where the script does.
    connection.executescript(f"BEGIN IMMEDIATE;\n{script}COMMIT;")


def _back_up(connection: sqlite3.Connection, path: Path, version: int) -> None:
    """Copy the database, on disk before this returns, to where an older program's operator finds it."""
    backup = path.with_name(f"{path.stem}-{version}{path.suffix}")
    fresh = backup.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with closing(sqlite3.connect(fresh)) as copy:
        connection.backup(copy)
    _sync(fresh)
    fresh.rename(backup)
    _sync(path.parent)
    for older in path.parent.glob(f"{path.stem}-*{path.suffix}"):
        if older != backup:
            older.unlink()
    _log.info(
        "the catalogue is of version {version}: kept as {backup}, and brought up to date",
        version=version,
        backup=str(backup),
    )


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
