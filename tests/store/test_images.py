"""The embedded store: adding, finding and expiring images."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from msgspec.structs import replace
from twisted.internet.defer import Deferred, ensureDeferred

from imaginator.model.errors import NotFound, StoreCorrupt, StoreUnwritable
from imaginator.model.image import Origin
from imaginator.model.tree import Entry, Inode, Kind, Node, encode_node
from imaginator.store.catalogue import Work
from imaginator.store.images import EmbeddedStore
from imaginator.store.interface import Wanted
from tests.support.real_reactor import reactor
from tests.support.store_parts import START, Forest, StoreParts, draft, running_store

DIRECTORY = Inode(Kind.DIRECTORY, 0o755)


def planted(parts: StoreParts, content: bytes = b"text") -> tuple[Entry, dict[bytes, bytes]]:
    """A tree of one file in one directory, whose object is kept, with its nodes."""
    forest = Forest()
    root = forest.plant({b"/": DIRECTORY, b"/d": DIRECTORY, b"/d/f": parts.put(content)})
    return root, forest.nodes


@pytest_twisted.ensureDeferred
async def test_images_get_names_that_none_else_has(tmp_path: Path) -> None:
    """Two images of one second are stamped a second apart, and both are found."""
    async with running_store(tmp_path) as parts:
        root, nodes = planted(parts)
        first = await parts.store.add(draft("s", root), nodes, ["one"])
        second = await parts.store.add(draft("s", root), {}, ["one", "two"])

        assert ["s/2026-11-22:23:38:05", "s/2026-11-22:23:38:06"] == [first.name, second.name]
        assert second == await parts.store.find_latest(Wanted("s"))
        assert first == await parts.store.get(first.name)
        assert [first.name, second.name] == [image.name for image in await parts.store.list("s/")]


@pytest_twisted.ensureDeferred
async def test_the_streams_that_have_images(tmp_path: Path) -> None:
    """Each once, without those whose images have expired or are deleted."""
    async with running_store(tmp_path) as parts:
        root, nodes = planted(parts)
        await parts.store.add(draft("kept", root), nodes, [])
        await parts.store.add(draft("kept", root), {}, [])
        gone = await parts.store.add(draft("gone", root), {}, [])
        await parts.store.add(draft("old", root, expires_at=START + timedelta(hours=1)), {}, [])
        before = await parts.store.streams()
        await parts.store.delete(gone.name)
        parts.later(hours=2)

        assert {"kept", "gone", "old"} == before
        assert {"kept"} == await parts.store.streams()


@pytest_twisted.ensureDeferred
async def test_an_image_of_another_store_keeps_its_name(tmp_path: Path) -> None:
    """It takes the place of one of this name that has expired here, and of no other."""
    async with running_store(tmp_path) as parts:
        root, nodes = planted(parts)
        name = "s/2026-11-20:00:00:00"
        brief = draft(name, root, expires_at=START + timedelta(hours=1), tags={"kind": "a"})
        await parts.store.bring(brief, nodes, ["one"])
        with pytest.raises(sqlite3.IntegrityError):
            await parts.store.bring(draft(name, root), {}, ["two"])
        parts.later(hours=2)
        lasting = await parts.store.bring(draft(name, root, tags={"kind": "b"}), {}, ["two"])
        next_one = await parts.store.add(draft("s", root), {}, ["two"])

        assert name == lasting.name < next_one.name
        assert lasting == await parts.store.get(name)
        assert lasting == await parts.store.find_latest(Wanted("s", tags={"kind": ("b",)}))
        assert await parts.store.find_latest(Wanted("s", tags={"kind": ("a",)})) is None


@pytest_twisted.ensureDeferred
async def test_a_missing_object_or_node_refuses_the_image(tmp_path: Path) -> None:
    """Nothing is to be seen of an image that is not whole."""
    async with running_store(tmp_path) as parts:
        root, nodes = planted(parts)
        with pytest.raises(StoreCorrupt, match="node"):
            await parts.store.add(draft("s", root), {}, [])
        parts.objects.path(parts.put(b"text").object).unlink()
        with pytest.raises(StoreCorrupt, match="objects are missing"):
            await parts.store.add(draft("s", root), nodes, [])

        assert () == tuple(await parts.store.list())


@pytest_twisted.ensureDeferred
async def test_the_latest_matches_commit_or_branch_and_all_tags(tmp_path: Path) -> None:
    """Values of one tag are alternatives, keys must all match; of those that do, the one that was added last."""
    async with running_store(tmp_path) as parts:
        root, nodes = planted(parts)
        origin = Origin(git_branch="main", git_commit_id="c0ffee")
        image = await parts.store.add(draft("s", root, origin=origin, tags={"a": "1", "b": "2"}), nodes, [])
        other = await parts.store.add(draft("s", root, tags={"a": "1", "b": "3"}), {}, [])
        await parts.store.add(draft("s", root), {}, [])

        assert other == await parts.store.find_latest(Wanted("s", tags={"a": ("1",)}))
        assert image == await parts.store.find_latest(Wanted("s", "main"))
        assert image == await parts.store.find_latest(Wanted("s", "c0ffee", {"a": ("0", "1"), "b": ("2",)}))
        assert await parts.store.find_latest(Wanted("s", tags={"a": ("1",), "b": ("4",)})) is None


@pytest_twisted.ensureDeferred
async def test_the_latest_is_the_streams_own_and_the_one_added_last(tmp_path: Path) -> None:
    """Not one of a stream below it; a clock that goes back changes nothing, and images that went keep their names."""
    now = START
    async with running_store(tmp_path) as parts:
        store = EmbeddedStore(parts.catalogue, parts.objects, parts.workers, lambda: now)
        root, nodes = planted(parts)
        first = await store.add(draft("s", root), nodes, [])
        now -= timedelta(hours=1)
        second = await store.add(draft("s", root), {}, [])
        await store.add(draft("s/below", root), {}, [])

        assert second == await store.find_latest(Wanted("s"))
        await store.delete(second.name)
        assert first == await store.find_latest(Wanted("s"))
        third = await store.add(draft("s", root), {}, [])
        assert [first.name, second.name, third.name] == sorted({first.name, second.name, third.name})


@pytest_twisted.ensureDeferred
async def test_an_expired_or_deleted_image_is_not_found(tmp_path: Path) -> None:
    """Pinned, it would have stayed."""
    async with running_store(tmp_path) as parts:
        root, nodes = planted(parts)
        expiry = START + timedelta(hours=1)
        short = await parts.store.add(draft("s", root, expires_at=expiry), nodes, [])
        pinned = await parts.store.add(draft("s", root, expires_at=expiry), {}, [])
        gone = await parts.store.add(draft("s", root), {}, [])
        await parts.store.set_expiry(pinned.name, None)
        await parts.store.delete(gone.name)
        parts.later(hours=2)

        assert [pinned.name] == [image.name for image in await parts.store.list()]
        for name in (short.name, gone.name):
            with pytest.raises(NotFound):
                await parts.store.get(name)


@pytest_twisted.ensureDeferred
async def test_extending(tmp_path: Path) -> None:
    """It shortens no life and makes no pinned image expire; what was up to date says when, last."""
    async with running_store(tmp_path) as parts:
        root, nodes = planted(parts)
        hour = timedelta(hours=1, microseconds=123_457)
        image = await parts.store.add(draft("s", root, expires_at=START + hour), nodes, [])
        pinned = await parts.store.add(draft("s", root), {}, [])
        seen = []
        for until, confirmed in ((2 * hour, START + hour), (hour, None)):
            await parts.store.extend([image.name, "s/none", pinned.name], START + until, confirmed)
            for name in (image.name, pinned.name):
                found = await parts.store.get(name)
                seen.append((found.expires_at, found.confirmed_at))

        assert [(START + 2 * hour, START + hour), (None, START + hour)] * 2 == seen
        assert image == replace(await parts.store.get(image.name), expires_at=image.expires_at, confirmed_at=None)
        with pytest.raises(NotFound, match="no such image: s/none"):
            await parts.store.set_expiry("s/none", START)


@pytest_twisted.ensureDeferred
async def test_a_full_disk_refuses_the_image(tmp_path: Path) -> None:
    """In words of its own, which a build's failure shows; when there is room again it is added."""
    async with running_store(tmp_path) as parts:
        root, nodes = planted(parts)

        def limit(pages: int) -> Callable[[sqlite3.Connection], object]:
            return lambda connection: connection.execute(f"PRAGMA max_page_count = {pages}")

        big = {**nodes, b"id": encode_node(Node((Entry(bytes(1 << 20), DIRECTORY),)))[1]}
        await parts.catalogue.write(limit(1))
        with pytest.raises(StoreUnwritable, match=r"catalogue.sqlite cannot be written: database or disk is full"):
            await parts.store.add(draft("s", root), big, [])
        await parts.catalogue.write(limit(1 << 20))
        image = await parts.store.add(draft("s", root), big, [])

        assert [image.name] == [one.name for one in await parts.store.list()]


@pytest.mark.parametrize("times", [1, 2])
@pytest_twisted.ensureDeferred
async def test_who_is_cancelled_while_an_image_is_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """The image is there then, which is told: a build that was cancelled would have one otherwise."""
    async with running_store(tmp_path) as parts:
        root, nodes = planted(parts)
        begun, free = threading.Event(), threading.Event()

        def hold(_connection: sqlite3.Connection) -> None:
            begun.set()
            free.wait(10)

        held = parts.catalogue.write(hold)
        begun.wait(10)
        asked: Deferred[None] = Deferred()
        write = parts.catalogue.write

        def noticed(work: Work[Any]) -> Deferred[Any]:
            reactor.callLater(0, asked.callback, None)
            return write(work)

        monkeypatch.setattr(parts.catalogue, "write", noticed)
        adding = ensureDeferred(parts.store.add(draft("s", root), nodes, []))
        await asked
        for _ in range(times):
            adding.cancel()
        free.set()
        await held
        image = await adding

        assert [image.name] == [one.name for one in await parts.store.list()]
