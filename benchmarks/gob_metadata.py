"""Saying and understanding an image's file list in gob, against msgspec doing JSON of the same values."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.figure import Figure, seconds, spread
from imaginator.srpc.decoding import Decoder
from imaginator.srpc.encoding import Encoder
from imaginator.srpc.filesystem import DirectoryEntry, DirectoryInode, FileSystem, RegularInode, SymlinkInode
from imaginator.srpc.kinds import Message

INODES = 6_700
"""Of a minimal Debian 12."""
A_DIRECTORY, A_LINK = 10, 9
"""One inode of so many."""
RUNS = 9
AIM = 25


class Entry(msgspec.Struct):
    """The yardstick's `DirectoryEntry`."""

    name: str
    inode_number: int


class Folder(msgspec.Struct, tag=True):
    """The yardstick's `DirectoryInode`."""

    entry_list: list[Entry]
    mode: int


class File(msgspec.Struct, tag=True):
    """The yardstick's `RegularInode`; JSON has its hash in Base64."""

    mode: int
    mtime_nano_seconds: int
    mtime_seconds: int
    size: int
    hash: bytes


class Link(msgspec.Struct, tag=True):
    """The yardstick's `SymlinkInode`."""

    symlink: str


def measure(_folder: Path) -> Sequence[Figure]:
    """Encoding and decoding together, and each, by turns with the yardstick."""
    table = dict(_inodes())
    tree = FileSystem(inode_table=table, num_regular_inodes=len(table))
    yardstick = {number: _as_json(inode) for number, inode in table.items()}
    said, text = Encoder().encode(tree), msgspec.json.encode(yardstick)
    assert tree == _decoded(said)
    reader = msgspec.json.Decoder(dict[int, File | Folder | Link])
    encoding = _compared(lambda: Encoder().encode(tree), partial(msgspec.json.encode, yardstick))
    decoding = _compared(partial(_decoded, said), partial(reader.decode, text))
    both = [[sum(pair) for pair in zip(*times, strict=True)] for times in zip(encoding, decoding, strict=True)]
    return [_figure("gob-encode", *encoding), _figure("gob-decode", *decoding), _figure("gob-metadata", *both)]


def _inodes() -> Iterator[tuple[int, Message]]:
    chance = random.Random(1)
    for number in range(1, INODES + 1):
        if number % A_DIRECTORY == 0:
            names = [DirectoryEntry(f"lib{other}.so", other) for other in range(number - A_DIRECTORY, number)]
            yield number, DirectoryInode(names, mode=0o40755)
        elif number % A_LINK == 0:
            yield number, SymlinkInode(symlink=f"../lib/x86_64-linux-gnu/lib{number}.so")
        else:
            time = chance.randrange(10**9)
            yield number, RegularInode(0o100644, 0, 0, time, 1_700_000_000, time % 100_000, chance.randbytes(64))


def _as_json(inode: Message) -> msgspec.Struct:
    match inode:
        case DirectoryInode():
            return Folder([Entry(entry.name, entry.inode_number) for entry in inode.entry_list], inode.mode)
        case SymlinkInode():
            return Link(inode.symlink)
        case RegularInode():
            return File(inode.mode, inode.mtime_nano_seconds, inode.mtime_seconds, inode.size, inode.hash)
    raise TypeError(inode)


def _decoded(said: bytes) -> Any:
    decoder = Decoder()
    decoder.feed(said)
    return decoder.next(FileSystem)


def _compared(ours: Callable[[], object], theirs: Callable[[], object]) -> tuple[list[float], list[float]]:
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(RUNS)]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def _figure(name: str, ours: list[float], theirs: list[float]) -> Figure:
    ratio = statistics.median(ours) / statistics.median(theirs)
    an_inode = statistics.median(ours) / INODES * 1e6
    return Figure(name, ratio, AIM, [spread("gob", ours), spread("yardstick", theirs), f"{an_inode:.1f} µs an inode"])
