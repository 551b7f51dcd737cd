"""The catalogue of every older version, brought up to the newest: with all that it held, and a copy as it was."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from imaginator.model.errors import StoreCorrupt
from imaginator.store import catalogue
from imaginator.store.catalogue import Catalogue, migrations
from tests.support.real_reactor import reactor

NEWEST = len(migrations())
OLDER = range(1, NEWEST)
ROWS: dict[int, tuple[str, ...]] = {
    1: (
        "INSERT INTO images VALUES (7, 'a/2026-11-22:23:38:05', 'a', 'commit', 'main', 1.5, NULL, x'01', x'80')",
        "INSERT INTO tags VALUES (7, 'key', 'value')",
        "INSERT INTO layers VALUES (7, 0, 'layer')",
        "INSERT INTO builds VALUES ('01K', 'a', 'succeeded', 'ann', 2.5, 'a/2026-11-22:23:38:05', x'80')",
    ),
    2: ("INSERT INTO pauses VALUES ('builds', 3.5, 'ann')",),
}
"""Rows of the tables that a version brought, in its own shape; the nodes' are in `old`, since their shape changes."""


def old(path: Path, version: int) -> None:
    """Write a catalogue as the program of ``version`` left it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        for number, script in enumerate(migrations()[:version], 1):
            connection.executescript(f"{script} PRAGMA user_version={number};")
            if number == 1:
                connection.execute("INSERT INTO nodes VALUES (x'0a', 4.5, x'0b')")
            for statement in ROWS.get(number, ()):
                connection.execute(statement)


def look(path: Path, work: Callable[[sqlite3.Connection], object]) -> object:
    """What another process finds."""
    with closing(sqlite3.connect(path)) as connection:
        return work(connection)


def schema(connection: sqlite3.Connection) -> list[tuple[str, ...]]:
    """Every table's columns, and every index."""
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY 1")]
    columns = [
        (table, *map(str, column)) for table in tables for column in connection.execute(f"PRAGMA table_info({table})")
    ]
    indexes = connection.execute("SELECT name, tbl_name, sql FROM sqlite_master WHERE type = 'index' ORDER BY 1")
    return columns + [tuple(map(str, index)) for index in indexes]


def rows(connection: sqlite3.Connection) -> dict[str, list[tuple[object, ...]]]:
    """What the tables hold."""
    found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
    return {name: connection.execute(f"SELECT * FROM {name}").fetchall() for (name,) in found.fetchall()}


def version_of(connection: sqlite3.Connection) -> int:
    """The version that is written down."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def opened(path: Path) -> None:
    """Have this program open it."""
    service = Catalogue(path, reactor)
    service.startService()
    service.stopService()


def started(path: Path) -> Path:
    """The same for a new one, which is returned."""
    opened(path)
    return path


@pytest.mark.parametrize("version", OLDER)
def test_an_older_one_is_brought_up_to_date(tmp_path: Path, version: int) -> None:
    """It is then like a new one, and nothing that it held is lost but what a migration drops."""
    path = tmp_path / "catalogue.sqlite"
    old(path, version)
    opened(path)
    expected = {
        "images": [(7, "a/2026-11-22:23:38:05", "a", "commit", "main", 1.5, None, b"\1", b"\x80", None)],
        "tags": [(7, "key", "value")],
        "layers": [(7, 0, "layer")],
        "nodes": [(b"\n", b"\v")],
        "builds": [("01K", "a", "succeeded", "ann", 2.5, "a/2026-11-22:23:38:05", b"\x80")],
        "pauses": [("builds", 3.5, "ann")] if version >= 2 else [],
        "usage": [],
    }

    assert NEWEST == look(path, version_of)
    assert look(started(tmp_path / "new.sqlite"), schema) == look(path, schema)
    assert expected == look(path, rows)


@pytest.mark.parametrize("version", OLDER)
def test_it_is_kept_as_it_was(tmp_path: Path, version: int) -> None:
    """The copy is whole, what was only in the write-ahead log too, and put back it is brought up to date again."""
    path, backup = tmp_path / "catalogue.sqlite", tmp_path / f"catalogue-{version}.sqlite"
    old(path, version)
    before = look(path, rows)
    with closing(sqlite3.connect(path)) as reader:
        # With a reader at work the log stays what the newest rows are in.
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM images").fetchall()
        with sqlite3.connect(path) as writer:
            writer.execute("INSERT INTO tags VALUES (7, 'late', 'row')")
        writer.close()
        opened(path)

    assert (version, "ok") == (
        look(backup, version_of),
        look(backup, lambda one: one.execute("PRAGMA integrity_check").fetchone()[0]),
    )
    found = look(backup, rows)
    assert isinstance(before, dict)
    assert isinstance(found, dict)
    assert {**before, "tags": [(7, "key", "value"), (7, "late", "row")]} == found
    backup.rename(path)
    opened(path)
    assert NEWEST == look(path, version_of)


def test_one_copy_stays(tmp_path: Path) -> None:
    """That of the last version before; a new catalogue and one that is up to date need none."""
    path = tmp_path / "catalogue.sqlite"
    (tmp_path / "catalogue-0.sqlite").touch()
    old(path, NEWEST - 1)
    opened(path)
    opened(path)
    opened(tmp_path / "other.sqlite")

    assert [f"catalogue-{NEWEST - 1}.sqlite"] == [found.name for found in tmp_path.glob("*-*.sqlite")]


def test_a_migration_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The catalogue stays as it was, the copy is there, and the next start tries again."""
    path = tmp_path / "catalogue.sqlite"
    old(path, 1)
    steps = migrations()
    monkeypatch.setattr(catalogue, "migrations", lambda: [*steps[:-1], f"{steps[-1]} SELECT x FROM nowhere;"])
    with pytest.raises(StoreCorrupt, match="no such table: nowhere"):
        opened(path)
    monkeypatch.undo()
    got_to = look(path, version_of)
    opened(path)

    assert 1 == got_to
    assert NEWEST == look(path, version_of)
    assert ["catalogue-1.sqlite"] == [found.name for found in tmp_path.glob("*-*.sqlite")]


def test_of_a_newer_program(tmp_path: Path) -> None:
    """It is refused, and is not touched."""
    path = tmp_path / "catalogue.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version={NEWEST + 1}")
    connection.close()

    with pytest.raises(StoreCorrupt, match=f"version {NEWEST + 1} is of a newer program"):
        opened(path)
    assert [path] == list(tmp_path.glob("*.sqlite"))
