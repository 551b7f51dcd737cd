"""Images as tar archives in the PAX format, the same bytes each time.

Members are named ``./path`` in the order of the tree, owners are numbers, modification times have nanoseconds and
extended attributes (file capabilities, access control lists) travel as ``SCHILY.xattr.NAME`` records, which GNU tar
and libarchive read. See POSIX.1-2017, pax, "pax Interchange Format", and tar(5) of libarchive.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator

from imaginator.model.image import Image
from imaginator.model.tree import Inode, Kind, walk
from imaginator.store.interface import ImageStore

BLOCK = 1 << 18
"""Bytes of content in one block."""

RECORD = 10240
"""An archive's size is a multiple of this many bytes."""

SECOND = 10**9

_TYPES = {
    Kind.DIRECTORY: tarfile.DIRTYPE,
    Kind.REGULAR: tarfile.REGTYPE,
    Kind.SYMLINK: tarfile.SYMTYPE,
    Kind.CHARACTER: tarfile.CHRTYPE,
    Kind.BLOCK: tarfile.BLKTYPE,
    Kind.FIFO: tarfile.FIFOTYPE,
    Kind.COMPUTED: tarfile.REGTYPE,
}


def tar_blocks(image: Image, store: ImageStore) -> Iterator[bytes]:
    """The archive of ``image`` in blocks of bounded size, for a worker thread, since it reads.

    Computed files are empty files. Raises ``OSError`` where an object cannot be read.
    """
    first_names: dict[bytes, bytes] = {}
    size = 0
    for path, entry in walk(image.root, store.nodes()):
        for block in _member(path, entry.inode, store, first_names):
            size += len(block)
            yield block
    yield bytes(2 * tarfile.BLOCKSIZE + -(size + 2 * tarfile.BLOCKSIZE) % RECORD)


def _member(path: bytes, inode: Inode, store: ImageStore, first_names: dict[bytes, bytes]) -> Iterator[bytes]:
    first = first_names.setdefault(inode.link, path) if inode.link else path
    if first != path:
        yield _header(path, inode, linked_to=first)
        return
    yield _header(path, inode)
    if inode.object:
        yield from _content(store, inode)


def _content(store: ImageStore, inode: Inode) -> Iterator[bytes]:
    with store.object_path(inode.object).open("rb") as file:
        while block := file.read(BLOCK):
            yield block
    yield bytes(-inode.size % tarfile.BLOCKSIZE)


def _header(path: bytes, inode: Inode, linked_to: bytes = b"") -> bytes:
    member = tarfile.TarInfo(_text(b"." + path))
    member.type = tarfile.LNKTYPE if linked_to else _TYPES[inode.kind]
    member.linkname = _text(b"." + linked_to if linked_to else _target(inode))
    member.mode, member.uid, member.gid = inode.mode, inode.uid, inode.gid
    member.size = 0 if linked_to else inode.size
    member.mtime, nanoseconds = divmod(inode.mtime, SECOND)
    member.devmajor, member.devminor = os.major(inode.device), os.minor(inode.device)
    member.pax_headers = {f"SCHILY.xattr.{_text(name)}": _text(value) for name, value in inode.attributes}
    if nanoseconds:
        member.pax_headers["mtime"] = _decimal(inode.mtime)
    return member.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _target(inode: Inode) -> bytes:
    return inode.target if inode.kind is Kind.SYMLINK else b""


def _decimal(nanoseconds: int) -> str:
    sign, (seconds, rest) = "-" if nanoseconds < 0 else "", divmod(abs(nanoseconds), SECOND)
    return f"{sign}{seconds}.{rest:09}"


def _text(name: bytes) -> str:
    """Bytes as the text that tarfile turns into the same bytes again."""
    return name.decode("utf-8", "surrogateescape")
