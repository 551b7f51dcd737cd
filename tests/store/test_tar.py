"""Images as tar archives."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_twisted
from msgspec.structs import replace

from imaginator.model.errors import StoreCorrupt
from imaginator.model.tree import Inode, Kind
from imaginator.store.tar import BLOCK, RECORD, tar_blocks
from tests.support.store_parts import Forest, StoreParts, draft, running_store

CAPABILITY = b"\x01\x00\x00\x02\xff\x00=\n"


@pytest_twisted.ensureDeferred
async def test_everything_of_an_image_is_in_its_archive(tmp_path: Path) -> None:
    """Links, devices, nanoseconds, capabilities and names that are not UTF-8 survive; the bytes are always the same."""
    async with running_store(tmp_path) as parts:
        file = replace(parts.put(b"text"), mtime=1_500_000_001_000_000_002, link=b"/b")
        forest = Forest()
        tree = {
            b"/": Inode(Kind.DIRECTORY, 0o755),
            b"/b": file,
            b"/c": file,
            b"/n": Inode(Kind.CHARACTER, 0o600, device=os.makedev(5, 1)),
            b"/p": Inode(Kind.REGULAR, 0o4755, attributes=((b"security.capability", CAPABILITY),)),
            b"/\xff": Inode(Kind.SYMLINK, 0o777, target=b"\xfe"),
        }
        image = await parts.store.add(draft("s", forest.plant(tree)), forest.nodes, [])
        data = await parts.workers.run(lambda: b"".join(tar_blocks(image, parts.store)))
        again = await parts.workers.run(lambda: b"".join(tar_blocks(image, parts.store)))

    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        found = {member.name: member for member in archive}
    assert data == again
    assert {".", "./b", "./c", "./n", "./p", "./\udcff"} == found.keys()
    assert "1500000001.000000002" == found["./b"].pax_headers["mtime"]
    assert (tarfile.LNKTYPE, "./b") == (found["./c"].type, found["./c"].linkname)
    assert (5, 1) == (found["./n"].devmajor, found["./n"].devminor)
    value = found["./p"].pax_headers["SCHILY.xattr.security.capability"]
    assert CAPABILITY == value.encode("utf-8", "surrogateescape")
    assert "\udcfe" == found["./\udcff"].linkname


class Export:
    """A store whose image has one file, ``/f``."""

    def __init__(self, parts: StoreParts, content: bytes) -> None:
        self.parts = parts
        self.content = content
        self.inode = parts.put(content)
        self.object = parts.objects.path(self.inode.object)

    async def blocks(self) -> list[bytes]:
        """The archive as it is made."""
        forest = Forest()
        tree = {b"/": Inode(Kind.DIRECTORY, 0o755), b"/f": self.inode}
        image = await self.parts.store.add(draft("s", forest.plant(tree)), forest.nodes, [])
        return await self.parts.workers.run(lambda: list(tar_blocks(image, self.parts.store)))

    async def member(self) -> tuple[tarfile.TarInfo, bytes]:
        """The file's member, and its content with the holes filled."""
        with tarfile.open(fileobj=io.BytesIO(b"".join(await self.blocks()))) as archive:
            member = archive.getmember("./f")
            file = archive.extractfile(member)
            assert file is not None
            return member, file.read()

    def keep(self, ranges: list[tuple[int, int]]) -> None:
        """Keep the object with other extents: data only at ``ranges``."""
        self.object.unlink()
        with self.object.open("wb") as file:
            for start, end in ranges:
                file.seek(start)
                file.write(self.content[start:end])
            file.truncate(len(self.content))


@asynccontextmanager
async def exporting(folder: Path, content: bytes) -> AsyncIterator[Export]:
    """An `Export` of a file with ``content``."""
    async with running_store(folder) as parts:
        yield Export(parts, content)


PAGE = 4096


@pytest.mark.parametrize("tail", [b"", b"\0\0\0", b"tail"])
@pytest_twisted.ensureDeferred
async def test_holes_follow_from_the_content(tmp_path: Path, tail: bytes) -> None:
    """Wherever the file system has holes, if it has any: those of the archive are the aligned blocks of zeros."""
    content = b"a" * PAGE + bytes(99 * PAGE) + b"b" * 10 + bytes(30 * PAGE - 10) + tail
    size = len(content)
    async with exporting(tmp_path, content) as export:
        export.keep([(0, PAGE), (100 * PAGE, 101 * PAGE), (size - len(tail), size)])
        member, found = await export.member()
        exact = await export.blocks()
        export.keep([(0, 50 * PAGE), (90 * PAGE + 7, 110 * PAGE), (size - len(tail), size)])
        again = await export.blocks()

    table: object = member.sparse  # typeshed takes it for bytes
    last = (130 * PAGE, len(tail))
    assert [(0, PAGE), (100 * PAGE, PAGE), last] == table
    assert (size, content) == (member.size, found)
    assert exact == again
    assert len(b"".join(exact)) == 2 * RECORD


@pytest_twisted.ensureDeferred
async def test_a_file_without_holes_is_an_ordinary_member(tmp_path: Path) -> None:
    """Zeros that are not aligned blocks make no sparse file, even where the file system saves room."""
    content = (b"\0" * (PAGE - 1) + b"x") * 64 + bytes(100)
    async with exporting(tmp_path, content) as export:
        export.keep([(0, 64 * PAGE)])
        member, found = await export.member()

    assert (False, content) == (member.issparse(), found)


@pytest_twisted.ensureDeferred
async def test_large_holes_cost_nothing(tmp_path: Path) -> None:
    """A file of 64 MB that is empty but for its end is read and sent in no time and little memory."""
    content = bytes(1 << 26) + b"end"
    async with exporting(tmp_path, content) as export:
        export.keep([(1 << 26, (1 << 26) + 3)])
        blocks = await export.blocks()

    assert [RECORD] == [len(block) for block in blocks]


@pytest_twisted.ensureDeferred
async def test_blocks_are_bounded(tmp_path: Path) -> None:
    """However large a file is, no block is much larger than twice their usual size."""
    async with exporting(tmp_path, os.urandom(BLOCK * 5 + 1)) as export:
        blocks = await export.blocks()

    assert {True} == {BLOCK <= len(block) <= 2 * BLOCK + RECORD for block in blocks[:-1]}
    assert 0 == sum(map(len, blocks)) % RECORD


@pytest.mark.parametrize("size", [5, 1 << 17])
@pytest.mark.parametrize("change", [-1, 1])
@pytest_twisted.ensureDeferred
async def test_an_object_of_the_wrong_size_ends_the_archive(tmp_path: Path, size: int, change: int) -> None:
    """No archive is made whose members lie at wrong places."""
    async with exporting(tmp_path, b"x" * size) as export:
        export.object.write_bytes(b"x" * (size + change))
        with pytest.raises(StoreCorrupt, match=f"has {size + change} bytes where the image says {size}"):
            await export.blocks()
