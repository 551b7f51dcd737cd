"""Between our trees and the wire's: a directory's entries against inodes with numbers. Pure.

The wire has no extended attributes, and no times of directories and links; what it has besides is the same. The root is
a part of the tree by itself and has no number. Numbers are given in the order of paths, from 1.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import msgspec

from imaginator.model.tree import Entry, Inode, Kind, Node, NodeReader, encode_node, join, walk
from imaginator.srpc.filesystem import (
    ComputedRegularInode,
    DirectoryEntry,
    DirectoryInode,
    FileSystem,
    RegularInode,
    SpecialInode,
    SymlinkInode,
)
from imaginator.srpc.kinds import Message

SECOND = 10**9
"""Nanoseconds."""

_SPECIAL = {Kind.CHARACTER: stat.S_IFCHR, Kind.BLOCK: stat.S_IFBLK, Kind.FIFO: stat.S_IFIFO}
_KINDS = {mode: kind for kind, mode in _SPECIAL.items()}
_PERMISSIONS = 0o7777


class BadTree(ValueError):
    """A tree from outside that none of ours can be; the words say where and why."""


class Sent(NamedTuple):
    """A tree of the wire; ``lost`` are the paths whose extended attributes it cannot hold."""

    tree: FileSystem
    lost: list[bytes]


class Received(NamedTuple):
    """A tree of ours: its root, its encoded nodes by their ids, and its groups of hard links, each sorted."""

    root: Entry
    nodes: dict[bytes, bytes]
    links: tuple[tuple[bytes, ...], ...]


def to_wire(root: Entry, read: NodeReader) -> Sent:
    """The wire's form of a tree."""
    table: dict[int, Message] = {}
    numbers: dict[bytes, int] = {}
    lost: list[bytes] = []
    for path, entry in walk(root, read):
        if entry.inode.attributes:
            lost.append(path)
        # All names of a file have the number of the first one that is met.
        number = numbers.get(entry.inode.link or path, len(table) + 1 if path != b"/" else 0)
        numbers[entry.inode.link or path] = numbers[path] = number
        if number and entry.inode.kind is not Kind.DIRECTORY:
            table[number] = _inode(entry.inode)
        elif number:
            table[number] = DirectoryInode()
    top = DirectoryInode()
    for path, entry in walk(root, read):
        if entry.inode.kind is Kind.DIRECTORY:
            made = _directory(path, entry, read, numbers)
            if numbers[path]:
                table[numbers[path]] = made
            else:
                top = made
    return Sent(_counted(table, top), lost)


def _directory(path: bytes, entry: Entry, read: NodeReader, numbers: Mapping[bytes, int]) -> DirectoryInode:
    names = [child.name for child in read(entry.node).entries] if entry.node else []
    entries = [DirectoryEntry(_text(name), numbers[join(path, name)]) for name in names]
    inode = entry.inode
    return DirectoryInode(entries, mode=stat.S_IFDIR | inode.mode, uid=inode.uid, gid=inode.gid)


def _counted(table: dict[int, Message], top: DirectoryInode) -> FileSystem:
    files = [inode for inode in table.values() if isinstance(inode, RegularInode)]
    return FileSystem(
        inode_table=table,
        num_regular_inodes=len(files),
        total_data_bytes=sum(inode.size for inode in files),
        directory_count=1 + sum(isinstance(inode, DirectoryInode) for inode in table.values()),
        directory_inode=top,
    )


def _inode(inode: Inode) -> Message:
    seconds, nanoseconds = divmod(inode.mtime, SECOND)
    owners = {"uid": inode.uid, "gid": inode.gid}
    if inode.kind is Kind.SYMLINK:
        return SymlinkInode(symlink=_text(inode.target), **owners)
    if inode.kind is Kind.COMPUTED:
        return ComputedRegularInode(mode=stat.S_IFREG | inode.mode, source=_text(inode.target), **owners)
    times = {"mtime_seconds": seconds, "mtime_nano_seconds": nanoseconds}
    if inode.kind is Kind.REGULAR:
        content = inode.object or bytes(64)
        return RegularInode(mode=stat.S_IFREG | inode.mode, size=inode.size, hash=content, **owners, **times)
    return SpecialInode(mode=_SPECIAL[inode.kind] | inode.mode, rdev=inode.device, **owners, **times)


def from_wire(tree: FileSystem) -> Received:
    """Our form of a tree that has come; raises `BadTree`."""
    paths: dict[int, list[bytes]] = {}
    for path, number in _walk(tree):
        paths.setdefault(number, []).append(path)
    groups = {number: tuple(sorted(names)) for number, names in paths.items() if len(names) > 1}
    nodes: dict[bytes, bytes] = {}
    root = _entry(tree, b"", tree.directory_inode, nodes, {number: names[0] for number, names in groups.items()})
    return Received(root, nodes, tuple(sorted(groups.values())))


def _walk(tree: FileSystem) -> Iterator[tuple[bytes, int]]:
    """Every path but the root's, with its number; each directory has one name, and none is within itself."""
    seen: set[int] = set()
    pending = [(b"/", tree.directory_inode)]
    while pending:
        path, directory = pending.pop()
        names = [_name(entry.name, path) for entry in directory.entry_list]
        if len({*names}) != len(names):
            raise BadTree(f"{_text(path)}: two entries have one name")
        for name, entry in zip(names, directory.entry_list, strict=True):
            child = join(path, name)
            inode = tree.inode_table.get(entry.inode_number)
            if inode is None:
                raise BadTree(f"{_text(child)}: there is no inode {entry.inode_number}")
            if isinstance(inode, DirectoryInode):
                if entry.inode_number in seen:
                    raise BadTree(f"{_text(child)}: a directory that has another name")
                seen.add(entry.inode_number)
                pending.append((child, inode))
            yield child, entry.inode_number


def _name(name: str, directory: bytes) -> bytes:
    data = _bytes(name)
    if data in {b"", b".", b".."} or b"/" in data or b"\0" in data:
        raise BadTree(f"{_text(directory)}: an entry called {name!r}")
    return data


def _entry(
    tree: FileSystem, name: bytes, top: DirectoryInode, nodes: dict[bytes, bytes], links: Mapping[int, bytes]
) -> Entry:
    """A directory's entry, after those of all directories below it: without recursion, since trees may be deep."""
    made: dict[int, Entry] = {}
    pending: list[tuple[int, bytes, DirectoryInode]] = [(0, name, top)]
    while pending:
        number, own_name, directory = pending[-1]
        below = [
            (entry.inode_number, _bytes(entry.name), tree.inode_table[entry.inode_number])
            for entry in directory.entry_list
        ]
        missing = [one for one in below if isinstance(one[2], DirectoryInode) and one[0] not in made]
        if missing:
            pending.extend(missing)  # type: ignore[arg-type]
            continue
        pending.pop()
        entries = [
            made[one] if one in made else Entry(child, _ours(inode, links.get(one, b""))) for one, child, inode in below
        ]
        made[number] = _with_node(own_name, directory, entries, nodes)
    return made[0]


def _with_node(name: bytes, directory: DirectoryInode, entries: list[Entry], nodes: dict[bytes, bytes]) -> Entry:
    inode = Inode(Kind.DIRECTORY, directory.mode & _PERMISSIONS, directory.uid, directory.gid)
    node = Node(tuple(sorted(entries, key=lambda entry: entry.name)))
    identity, data = encode_node(node)
    nodes[identity] = data
    return Entry(name, inode, identity)


def _ours(inode: Message, link: bytes) -> Inode:
    match inode:
        case SymlinkInode():
            found = Inode(Kind.SYMLINK, 0o777, inode.uid, inode.gid, target=_bytes(inode.symlink))
        case ComputedRegularInode():
            mode = inode.mode & _PERMISSIONS
            found = Inode(Kind.COMPUTED, mode, inode.uid, inode.gid, target=_bytes(inode.source))
        case RegularInode():
            found = Inode(Kind.REGULAR, inode.mode & _PERMISSIONS, inode.uid, inode.gid, _time(inode), inode.size)
            found = msgspec.structs.replace(found, object=inode.hash if inode.size else b"")
        case SpecialInode() if stat.S_IFMT(inode.mode) in _KINDS:
            kind = _KINDS[stat.S_IFMT(inode.mode)]
            mode = inode.mode & _PERMISSIONS
            found = Inode(kind, mode, inode.uid, inode.gid, _time(inode), device=inode.rdev)
        case _:
            raise BadTree(f"an inode of mode {getattr(inode, 'mode', 0):o}, which no image has")
    return msgspec.structs.replace(found, link=link) if link else found


def _time(inode: RegularInode | SpecialInode) -> int:
    return inode.mtime_seconds * SECOND + inode.mtime_nano_seconds


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
