"""Images as tar archives in the PAX format, the same bytes each time.

Members are named ``./path`` in the order of the tree, owners are numbers, times have nanoseconds; extended attributes
(file capabilities, access control lists) and holes are written as GNU tar does, which libarchive reads too. A hole is
an aligned block of zeros in an object that the file system keeps with holes: where they are follows from the content.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator

from imaginator.model.errors import StoreCorrupt
from imaginator.model.image import Image
from imaginator.model.tree import Inode, walk
from imaginator.sandbox.contents import HOLE, SPARSE_FROM, data_ranges, filled_ranges
from imaginator.store.headers import UNIT, header, link_header, sparse_header
from imaginator.store.interface import ImageStore

BLOCK = 1 << 18
"""Bytes of an archive in one block, at least; no more than the double and the largest header."""

RECORD = 10240
"""An archive's size is a multiple of this many bytes."""

Range = tuple[int, int]
"""Where a part of a file begins and ends."""


def tar_blocks(image: Image, store: ImageStore) -> Generator[bytes]:
    """The archive of ``image`` in blocks of bounded size, for a worker thread, since it reads.

    Computed files are empty files. Raises ``OSError`` where an object cannot be read, `StoreCorrupt` where it or a
    node is not what the image says.
    """
    parts: list[bytes] = []
    waiting = total = 0
    for part in _parts(image, store):
        parts.append(part)
        waiting += len(part)
        if waiting >= BLOCK:
            yield b"".join(parts)
            parts.clear()
            total, waiting = total + waiting, 0
    total += waiting
    yield b"".join(parts) + bytes(2 * UNIT + -(total + 2 * UNIT) % RECORD)


def _parts(image: Image, store: ImageStore) -> Iterator[bytes]:
    first_names: dict[bytes, bytes] = {}
    for path, entry in walk(image.root, store.nodes()):
        inode = entry.inode
        first = first_names.setdefault(inode.link, path) if inode.link else path
        if first != path:
            yield link_header(path, inode, first)
        elif inode.object:
            yield from _file(path, inode, store)
        else:
            yield header(path, inode)


def _file(path: bytes, inode: Inode, store: ImageStore) -> Iterator[bytes]:
    descriptor = store.open_object(inode.object)
    try:
        if inode.size < SPARSE_FROM:
            yield header(path, inode)
            yield _whole(descriptor, inode)
        else:
            yield from _large(path, descriptor, inode)
    finally:
        os.close(descriptor)
    yield bytes(-inode.size % UNIT)  # holes are multiples of it


def _whole(descriptor: int, inode: Inode) -> bytes:
    content = os.read(descriptor, inode.size + 1)
    if len(content) != inode.size:
        raise _wrong_size(inode, len(content))
    return content


def _large(path: bytes, descriptor: int, inode: Inode) -> Iterator[bytes]:
    status = os.fstat(descriptor)
    if status.st_size != inode.size:
        raise _wrong_size(inode, status.st_size)
    whole = [(0, inode.size)]
    ranges = _filled(descriptor, inode.size) if status.st_blocks * 512 < inode.size else whole
    yield header(path, inode) if ranges == whole else sparse_header(path, inode, ranges)
    for start, end in ranges:
        yield from _read(descriptor, start, end)


def _filled(descriptor: int, size: int) -> list[Range]:
    """What lies between holes, which are aligned blocks of zeros: what the file system keeps only spares reading."""
    found: list[Range] = []
    done = 0
    for start, end in (*data_ranges(descriptor), (size - size % HOLE, size)):
        at = max(done, start - start % HOLE)
        for data in _read(descriptor, at, min(end + -end % HOLE, size)):
            for first, last in filled_ranges(data):
                if found and found[-1][1] == at + first:
                    found[-1] = (found[-1][0], at + last)
                else:
                    found.append((at + first, at + last))
            at += len(data)
        done = at
    return found


def _read(descriptor: int, start: int, end: int) -> Iterator[bytes]:
    while start < end:
        data = os.pread(descriptor, min(end - start, BLOCK), start)
        if not data:
            raise StoreCorrupt("an object became shorter while it was read")
        yield data
        start += len(data)


def _wrong_size(inode: Inode, size: int) -> StoreCorrupt:
    return StoreCorrupt(f"object {inode.object.hex()} has {size} bytes where the image says {inode.size}")
