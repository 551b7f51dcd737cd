"""A tree under construction, as the daemon sees it: every operation is asked of the holder, none touches a file here.

Paths are absolute bytes as the image sees them. Every operation raises `BuildFailed` with one sentence when it fails.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from imaginator.model.changes import Change, Content, Touches
from imaginator.model.tree import Inode, Kind
from imaginator.sandbox.channel import Channel
from imaginator.sandbox.frames import PART

_KINDS = {kind.value: kind for kind in Kind}


class Digest(NamedTuple):
    """A file's SHA-512 and size in bytes; where it cannot be read, no digest, and ``problem`` says why."""

    path: bytes
    digest: bytes
    size: int
    problem: str = ""


class Tree:
    """The operations on one tree; they are done one after the other, in the order in which they are asked for."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def read(self, path: bytes, limit: int) -> bytes | None:
        """At most ``limit`` bytes of a regular file, links followed beneath the root; None where there is none."""
        data: bytes | None = await self._channel.ask("read", path, limit)
        return data

    async def write(self, path: bytes, data: bytes, mode: int = 0o644) -> None:
        """Write a file through the image's links; a new one belongs to root and has ``mode``, parents are made."""
        await self._channel.ask("write", path, data, mode)

    async def stat(self, path: bytes) -> Inode | None:
        """The inode at a path, a link at its end not followed; None for nothing."""
        fields = await self._channel.ask("stat", path)
        return None if fields is None else _inode(fields)

    async def remove(self, path: bytes) -> None:
        """Remove a path with everything below it; nothing there is fine."""
        await self.remove_all([path])

    async def remove_all(self, paths: Sequence[bytes]) -> None:
        """Remove several paths."""
        await self._channel.ask("remove", list(paths))

    async def copy_in(self, manifest: Path, part: str = "", target: bytes = b"/") -> None:
        """Copy what is below a directory of a manifest over one of the tree; equal files stay untouched."""
        await self._channel.ask("copy_in", os.fsencode(manifest), os.fsencode(part), target)

    async def append_in(self, manifest: Path, part: str = "") -> list[bytes]:
        """Append each file below a directory of a manifest to the tree's; the links, which were skipped."""
        skipped: list[bytes] = await self._channel.ask("append_in", os.fsencode(manifest), os.fsencode(part))
        return skipped

    async def copy_flat(self, manifest: Path, part: str, target: bytes, mode: int) -> list[bytes]:
        """Copy one directory's files, links followed and hidden names left out, with ``mode``; their names."""
        arguments = (os.fsencode(manifest), os.fsencode(part), target, mode)
        names: list[bytes] = await self._channel.ask("copy_flat", *arguments)
        return names

    async def make_mount_points(self, paths: Sequence[bytes]) -> list[bytes]:
        """Make directories where nothing is; those that were made."""
        made: list[bytes] = await self._channel.ask("make_mount_points", list(paths))
        return made

    async def remove_mount_points(self, made: Sequence[bytes]) -> None:
        """Remove again what `make_mount_points` made, where it is still empty."""
        await self._channel.ask("remove_mount_points", list(made))

    async def offer_packages(self, target: bytes, cache: Path, offer_in: str) -> tuple[Path, int] | None:
        """A directory of the host to bind at ``target``, and how many cached packages it offers.

        None where ``target`` is no directory of the image, or a link leads there. See `offering`.
        """
        offered = await self._channel.ask("offer_packages", target, os.fsencode(cache), os.fsencode(offer_in))
        return None if offered is None else (Path(os.fsdecode(offered[0])), offered[1])

    async def keep_packages(self, suffix: str, room: int) -> tuple[int, int]:
        """End the offer; how many files went into the cache (``room`` bytes at most), and how many were used of it."""
        kept, used = await self._channel.ask("keep_packages", os.fsencode(suffix), room)
        return kept, used

    async def executables(self, path: bytes) -> list[bytes]:
        """The regular files below a directory that their owner may execute, links not followed."""
        found: list[bytes] = await self._channel.ask("executables", path)
        return found

    async def changed_paths(self) -> list[bytes]:
        """The paths that `scan` would tell of but the root, in no order."""
        return await self._channel.parts("changed_paths", convert=bytes)

    async def scan(self) -> list[Change]:
        """What the upper says; of a plain tree, everything. Parents come first."""
        return await self._channel.parts("scan", convert=_change)

    async def lookup(self, paths: Iterable[bytes]) -> list[Change]:
        """Paths as the merged tree has them."""
        return await self._channel.parts("lookup", list(paths), convert=_change)

    async def gather(self, paths: Sequence[bytes], objects: Path) -> list[Content]:
        """Hash regular files and write down what ``objects`` lacks; only `publish` makes objects of it."""
        names = iter(paths)
        arguments = (list(paths), os.fsencode(objects))
        return await self._channel.parts("gather", *arguments, convert=lambda found: Content(next(names), *found))

    async def publish(self) -> list[bytes]:
        """Let all content that was gathered last be objects, on disk when this returns.

        Those of its digests that were objects already, and have been removed since.
        """
        lost: list[bytes] = await self._channel.ask("publish")
        return lost

    async def collect(self, paths: Sequence[bytes], objects: Path) -> list[Content]:
        """Hash regular files and store what is new in ``objects``, on disk when this returns."""
        contents = await self.gather(paths, objects)
        await self.publish()
        return contents

    async def survey(self) -> list[Change]:
        """Every path of the tree, parents first; all but directories have a number, equal for the names of one file."""
        return await self._channel.parts("survey", convert=_change)

    async def digests(self, paths: Sequence[bytes], folder: Path | None = None) -> list[Digest]:
        """The digests of files of the tree, or of a directory of the host; in no order."""
        return await self._channel.parts(
            "digests", list(paths), os.fsencode(folder) if folder else b"", convert=Digest._make
        )

    async def providers(self, paths: Sequence[bytes]) -> list[int]:
        """Which of the workspace's lowers, topmost first, shows or hides each path; -1 where none names it."""
        places: list[int] = await self._channel.ask("providers", list(paths))
        return places

    async def finish(self, touches: Touches) -> int:
        """Take the overlay away and make the upper equal to its image; the bytes that it takes on the disk.

        Nothing but closing may follow.
        """
        size: int = await self._channel.ask("finish", tuple(touches))
        return size

    async def restore(self, entries: Sequence[tuple[bytes, Inode]], objects: Path) -> int:
        """Fill an empty tree without lowers from metadata and objects, parents first; the bytes that it takes."""
        for start in range(0, len(entries), PART):
            batch = [(path, _fields(inode)) for path, inode in entries[start : start + PART]]
            await self._channel.ask("restore", batch, os.fsencode(objects))
        size: int = await self._channel.ask("restored")
        return size


def _inode(fields: Sequence[Any]) -> Inode:
    return Inode(_KINDS[fields[0]], *fields[1:])


def _fields(inode: Inode) -> tuple[Any, ...]:
    values = (getattr(inode, name) for name in Inode.__struct_fields__)
    return tuple(value.value if isinstance(value, Kind) else value for value in values)


def _change(fields: Sequence[Any]) -> Change:
    path, inode, opaque, number = fields
    return Change(path, None if inode is None else _inode(inode), opaque, number)
