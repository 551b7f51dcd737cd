"""A file-system tree as values: inodes, and the Merkle nodes that hold them, one a directory, as Git keeps its trees.

A `Node` lists a directory's entries sorted by name; a subdirectory's entry carries the id of its own node, so that
two trees differ only where their ids differ. A node's id is the SHA-256 of its encoding (MessagePack of the array
form of these structs); a regular file's content is an *object*, named by its SHA-512. Empty files have no object.

No struct here can be part of a reference cycle, so that the garbage collector need not know them (``gc=False``): with
tens of thousands of them, its full collections would hold up the reactor.

Names, link targets and attribute values are bytes: Linux promises no encoding. Times are nanoseconds since 1970.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from enum import StrEnum

import msgspec


class Kind(StrEnum):
    """What an inode is; sockets are never part of an image."""

    DIRECTORY = "d"
    REGULAR = "f"
    SYMLINK = "l"
    CHARACTER = "c"
    BLOCK = "b"
    FIFO = "p"
    COMPUTED = "x"


class Inode(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One file's metadata.

    ``mode`` holds the permission and set-id bits only (0o7777). ``size`` and ``object`` (a SHA-512 digest, empty for
    an empty file) are a regular file's; ``target`` a symbolic link's, or the source address of a computed file;
    ``device`` the ``os.makedev`` number of a device node. ``attributes`` are extended attributes sorted by name.
    ``link`` is set for members of a hard-link group: the group's first path in byte order (``/usr/bin/perl``).
    """

    kind: Kind
    mode: int
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    size: int = 0
    object: bytes = b""
    target: bytes = b""
    device: int = 0
    attributes: tuple[tuple[bytes, bytes], ...] = ()
    link: bytes = b""


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A name in a directory; ``node`` is the id of a subdirectory's node, empty for everything else.

    A tree's root is an entry with an empty name.
    """

    name: bytes
    inode: Inode
    node: bytes = b""


class Node(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A directory's entries, sorted by name."""

    entries: tuple[Entry, ...] = ()

    def get(self, name: bytes) -> Entry | None:
        """The entry called ``name``, if there is one."""
        return next((entry for entry in self.entries if entry.name == name), None)


NodeReader = Callable[[bytes], Node]
"""Finds a node by its id; raises `imaginator.model.errors.StoreCorrupt` where it is not kept."""

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Node)


def encode_node(node: Node) -> tuple[bytes, bytes]:
    """The id and the encoding of ``node``."""
    data = _encoder.encode(node)
    return hashlib.sha256(data).digest(), data


def decode_node(data: bytes) -> Node:
    """The node that `encode_node` encoded; raises ``msgspec.DecodeError`` for anything else."""
    return _decoder.decode(data)


def join(directory: bytes, name: bytes) -> bytes:
    """The absolute path of ``name`` in ``directory`` (``/`` or ``/a/b``)."""
    return directory + name if directory == b"/" else directory + b"/" + name


def walk(root: Entry, read: NodeReader) -> Iterator[tuple[bytes, Entry]]:
    """Every path of a tree with its entry, parents before children, siblings by name; the root is ``/``."""
    pending = [(b"/", root)]
    while pending:
        path, entry = pending.pop()
        yield path, entry
        if entry.node:
            children = read(entry.node).entries
            pending.extend((join(path, child.name), child) for child in reversed(children))
