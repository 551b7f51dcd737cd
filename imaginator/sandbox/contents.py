"""The bytes of files: copied, shared and written with their holes. Standard library only (see `holder`).

A hole is an aligned block of `HOLE` zero bytes of a file of at least `SPARSE_FROM` bytes that takes no room on the
disk. Whoever reads the file sees zeros; what is a hole therefore follows from the content alone.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator

HOLE = 4096
SPARSE_FROM = 1 << 16
"""Bytes; in smaller files holes would save less than looking for them costs."""

_ZEROS = bytes(HOLE)
_FICLONE = 0x40049409
"""ioctl_ficlone(2)."""
_NOT_CLONABLE = frozenset({errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS})


def copy_content(source: bytes, target: bytes) -> None:
    """A new file ``target`` with the bytes and holes of ``source``, shared with it where the file system can."""
    reader = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    writer = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        copy_open(reader, writer)
    finally:
        os.close(reader)
        os.close(writer)


def copy_open(reader: int, writer: int) -> None:
    """The same for open files, of which ``writer`` is empty."""
    if not clone(reader, writer):
        _copy_data(reader, writer)


def clone(reader: int, writer: int) -> bool:
    """Let an empty file share the blocks of another one (reflink); False where the file system cannot."""
    try:
        fcntl.ioctl(writer, _FICLONE, reader)
    except OSError as error:
        if error.errno not in _NOT_CLONABLE:
            raise
        return False
    return True


def _copy_data(reader: int, writer: int) -> None:
    status = os.fstat(reader)
    whole = status.st_blocks * 512 >= status.st_size
    for start, end in [(0, status.st_size)] if whole else data_ranges(reader):
        while start < end and (count := _copy_some(reader, writer, start, end - start)):
            start += count
    if not whole:
        os.ftruncate(writer, status.st_size)


def _copy_some(reader: int, writer: int, start: int, count: int) -> int:
    try:
        return os.copy_file_range(reader, writer, count, start, start)
    except OSError as error:
        if error.errno not in _NOT_CLONABLE:
            raise
    # From one file system to another Linux copies by sendfile(2) alone, to where the writer stands.
    os.lseek(writer, start, os.SEEK_SET)
    return os.sendfile(writer, reader, start, count)


def data_ranges(descriptor: int) -> Iterator[tuple[int, int]]:
    """Start and end of what is not a hole in an open file, as its file system tells."""
    end = 0
    while True:
        try:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        end = os.lseek(descriptor, start, os.SEEK_HOLE)
        yield start, end


def write_content(descriptor: int, data: bytes | bytearray, offset: int = 0) -> int:
    """Write ``data`` at ``offset`` (a multiple of `HOLE`) of a file that has nothing there yet, leaving holes.

    Returns the size that the file has now: with zeros at its very end, it has yet to get its own.
    """
    end = 0
    with memoryview(data) as view:
        for start, end in filled_ranges(data) if len(data) >= SPARSE_FROM else [(0, len(data))]:
            while start < end:
                start += os.pwrite(descriptor, view[start:end], offset + start)
    return offset + end


def filled_ranges(data: bytes | bytearray) -> Iterator[tuple[int, int]]:
    """Start and end of what lies between holes in ``data``."""
    start = 0
    for hole in _holes(data):
        if hole > start:
            yield start, hole
        start = hole + HOLE
    if start < len(data):
        yield start, len(data)


def _holes(data: bytes | bytearray) -> Iterator[int]:
    # Only a block that begins with a zero is looked at whole: hashing the data costs a hundred times as much.
    firsts = bytes(data[::HOLE])
    at = firsts.find(0)
    while at >= 0:
        if data[at * HOLE : (at + 1) * HOLE] == _ZEROS:
            yield at * HOLE
        at = firsts.find(0, at + 1)
