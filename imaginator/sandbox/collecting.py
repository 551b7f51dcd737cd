"""Making objects of files: hashed and stored, each file read once. Standard library only (see `holder`).

What is durable when: new content is written to the workspace, every new file is synced there, and only then gets its
final name by rename; last, the directories of all objects that are told of are synced, also of those that were there
already, since whoever made them may not have come that far. So a file under an object's name is whole whatever
happens, and what `collect` has told of outlives a power cut.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence

from imaginator.sandbox.contents import clone, write_content
from imaginator.sandbox.forks import side_by_side
from imaginator.sandbox.kernel.files import sync_file_system

TYPE_CHECKING = False  # importing typing would take as long as starting Python does
if TYPE_CHECKING:
    Found = tuple[bytes, int, bool]
    """A file's digest, its size, and whether the content was new."""
    Stored = tuple[bytes, int, bytes]
    """A file's digest, its size, and the workspace's new file with its content, empty for none."""

_WHOLE = 8 << 20
"""Files up to this size are read whole, so that content which is known is not written a second time."""
_BLOCK = 1 << 20
_ENOUGH_FOR_A_PROCESS = 64
FEW = 100
"""Up to so many inodes are synced one by one; more, and the whole file system is cheaper."""


class Collection:
    """Collects from the overlay of ``upper`` and ``merged`` (one and the same for a plain tree) into ``objects``.

    ``scratch`` is a directory to be made, for new content on its way; it lies on the file system of ``objects``.
    """

    def __init__(self, upper: bytes, merged: bytes, objects: bytes, scratch: bytes) -> None:
        self._upper = upper
        self._merged = merged
        self._objects = objects
        self._scratch = scratch
        self._fresh: dict[bytes, bytes] = {}
        self._wanted: set[bytes] = set()

    def gather(self, paths: Sequence[bytes]) -> Iterator[Found]:
        """Hash each regular file, in the order of ``paths``, and write down what is new."""
        os.makedirs(self._objects, mode=0o700, exist_ok=True)
        os.makedirs(self._scratch, mode=0o700, exist_ok=True)
        processes = min(os.cpu_count() or 1, len(paths) // _ENOUGH_FOR_A_PROCESS + 1)
        results = side_by_side([self._share(paths[number::processes], number) for number in range(processes)])
        stored = [results[place % processes][place // processes] for place in range(len(paths))]
        # Two processes may have met the same content: one of their files is taken.
        self._fresh = {digest: temporary for digest, _, temporary in stored if temporary}
        self._wanted = {digest for digest, _, _ in stored if digest}
        for digest, size, temporary in stored:
            yield digest, size, temporary != b"" and self._fresh[digest] == temporary

    def publish(self) -> list[bytes]:
        """Make new content durable and known by its digest, then the names of all objects that were told of.

        Returns the digests of content that was known when it was hashed, and has been collected since.
        """
        sync_all(list(self._fresh.values()), self._scratch)
        for digest, temporary in self._fresh.items():
            rename(temporary, object_path(self._objects, digest))
        directories = {os.path.dirname(object_path(self._objects, digest)) for digest in self._wanted}
        for directory in sorted(directories | {self._objects}):
            sync(directory)
        known = self._wanted - self._fresh.keys()
        return [digest for digest in known if not os.path.exists(object_path(self._objects, digest))]

    def _share(self, paths: Sequence[bytes], number: int) -> Callable[[], list[Stored]]:
        """The work of one process: hash files and write down what is new."""

        def work() -> list[Stored]:
            written: dict[bytes, bytes] = {}
            return [self._store(path, written, b"%d-%d" % (number, place)) for place, path in enumerate(paths)]

        return work

    def _store(self, path: bytes, written: dict[bytes, bytes], name: bytes) -> Stored:
        """Hash one file; its content goes to ``name`` in the workspace unless it is known or ``written`` already."""
        fresh = os.path.join(self._scratch, name)
        descriptor = self._open(path)
        try:
            if os.fstat(descriptor).st_size > _WHOLE:
                return self._store_large(descriptor, written, fresh)
            data = _read(descriptor)
            digest = hashlib.sha512(data).digest()
            if not data or self._known(digest, written):
                return digest if data else b"", len(data), b""
            _write(fresh, descriptor, [data])
        finally:
            os.close(descriptor)
        written[digest] = fresh
        return digest, len(data), fresh

    def _store_large(self, descriptor: int, written: dict[bytes, bytes], fresh: bytes) -> Stored:
        """The same for a file that is not held in memory: it is written while it is hashed."""
        content = hashlib.sha512()

        def blocks() -> Iterator[bytes]:
            while block := os.read(descriptor, _BLOCK):
                content.update(block)
                yield block

        size = _write(fresh, None, blocks())
        digest = content.digest()
        if self._known(digest, written):
            os.unlink(fresh)
            return digest, size, b""
        written[digest] = fresh
        return digest, size, fresh

    def _open(self, path: bytes) -> int:
        """Open a file where it really lies, so that its blocks can be shared with an object."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        if self._upper != self._merged:
            try:
                descriptor = os.open(self._upper + path, flags)
            except OSError:  # copied up under another name of the file
                return os.open(self._merged + path, flags)
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                return descriptor
            os.close(descriptor)
        return os.open(self._merged + path, flags)

    def _known(self, digest: bytes, written: dict[bytes, bytes]) -> bool:
        """Whether content is there, or will be."""
        return digest in written or os.path.exists(object_path(self._objects, digest))


def object_path(objects: bytes, digest: bytes) -> bytes:
    """Where the object with a digest lies: ``ab/cdef…``, so that no directory grows large."""
    name = digest.hex().encode()
    return os.path.join(objects, name[:2], name[2:])


def sync(path: bytes) -> None:
    """Write a file or a directory to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(descriptor: int) -> bytes:
    """All of a file, in one call unless it grows meanwhile."""
    size = os.fstat(descriptor).st_size
    data = os.read(descriptor, size + 1)
    while block := os.read(descriptor, size + 1) if len(data) > size else b"":
        data += block
    return data


def _write(path: bytes, source: int | None, blocks: Iterable[bytes]) -> int:
    """A new file of some blocks, or sharing the whole of ``source``; its size."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o400)
    size = end = 0
    try:
        if source is not None and clone(source, descriptor):
            return size
        for block in blocks:
            end = write_content(descriptor, block, size)
            size += len(block)
        if end < size:
            os.ftruncate(descriptor, size)
        return size
    finally:
        os.close(descriptor)


def rename(temporary: bytes, target: bytes) -> None:
    """Give a file its object's name."""
    try:
        os.rename(temporary, target)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
        os.rename(temporary, target)


def sync_all(paths: Sequence[bytes], directory: bytes) -> None:
    """Write some files and directories to the disk, all of which lie on the file system of ``directory``."""
    if len(paths) <= FEW:
        for path in paths:
            sync(path)
        return
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        sync_file_system(descriptor)
    finally:
        os.close(descriptor)
