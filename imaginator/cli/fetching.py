"""An image's archive on its way to disk: kept as a file, or unpacked as root exactly as it was built.

Both are made under a temporary name beside the wanted one, and get their name when they are whole.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from io import BufferedIOBase, BufferedReader, RawIOBase
from pathlib import Path
from typing import TYPE_CHECKING

import click

from imaginator.cli.scratch import scratch

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer as Buffer

_ATTRIBUTE = "SCHILY.xattr."
"""The PAX header prefix of extended attributes, as GNU tar and libarchive write them."""

_SPECIAL = {tarfile.CHRTYPE: stat.S_IFCHR, tarfile.BLKTYPE: stat.S_IFBLK, tarfile.FIFOTYPE: stat.S_IFIFO}
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_BLOCK = 1 << 18


def save(archive: BufferedIOBase, path: Path) -> None:
    """Write an archive to ``path``."""
    with _partial(path.parent, path.name) as folder:
        fresh = folder / "archive"
        with fresh.open("wb") as file:
            shutil.copyfileobj(archive, file, _BLOCK)
        fresh.replace(path)


def unpack(archive: BufferedIOBase, directory: Path) -> None:
    """Unpack an archive as ``directory``, which must be missing or empty.

    Everything is as it was built: owners, modes, times to the nanosecond, links, devices, extended attributes, holes.
    """
    if os.geteuid() != 0:
        raise click.ClickException("unpacking an image needs root, which may give files their owners; or save FILE.tar")
    check_free(directory)
    with _partial(directory.parent, directory.name) as folder:
        tree = _Tree(folder / "root")
        try:
            _fill(tree, archive)
        except tarfile.TarError as error:
            raise click.ClickException(f"the image's archive is damaged: {error}") from None
        tree.settle()
        tree.root.replace(directory)


def _fill(tree: _Tree, archive: BufferedIOBase) -> None:
    # Forward only: the archive comes from a connection.
    with tarfile.open(fileobj=archive, mode="r|", bufsize=_BLOCK, errors="surrogateescape") as members:
        for member in members:
            tree.add(member, members)
        _check_end(members)


def check_free(directory: Path) -> None:
    """Raise `click.ClickException` where ``directory`` cannot be made by an unpacked image."""
    _check_parent(directory.parent)
    if directory.exists() and any(directory.iterdir()):
        raise click.ClickException(f"{directory}: expected an empty directory or none")
    if directory.is_mount():
        raise click.ClickException(f"{directory} is a mount point; unpack into a directory in it")


def _check_parent(parent: Path) -> None:
    if not parent.is_dir():
        raise click.ClickException(f"{parent}: no such directory")


def unpack_blocks(blocks: Iterator[bytes], directory: Path) -> None:
    """The same with an archive that comes in blocks."""
    unpack(BufferedReader(Blocks(blocks), _BLOCK), directory)


@contextmanager
def _partial(parent: Path, name: str) -> Iterator[Path]:
    """A folder in ``parent`` for what will be called ``name`` there."""
    _check_parent(parent)
    try:
        with scratch(parent) as folder:
            yield folder
    except OSError as error:
        if error.errno in _FULL:
            raise click.ClickException(f"{parent / name}: {os.strerror(error.errno)}") from error
        raise


def _check_end(members: tarfile.TarFile) -> None:
    """Read on to the end: two units of zeros say that an archive is whole, one of which has been read."""
    assert members.fileobj is not None
    rest = members.fileobj.read(tarfile.BLOCKSIZE)
    if rest != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("unexpected end of data")
    while members.fileobj.read(_BLOCK):
        pass


class Blocks(RawIOBase):
    """Blocks of bytes as a file that can be read."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Buffer, /) -> int:
        """Fill a buffer with what is left of a block, or the next one."""
        if not self._rest:
            self._rest = memoryview(next(self._blocks, b""))
        target = memoryview(buffer)
        count = min(len(target), len(self._rest))
        target[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


class _Tree:
    """A new directory ``root`` that is filled from an archive; nothing in it is written twice, or through a link."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._directories: dict[str, tarfile.TarInfo | None] = {".": None}
        root.mkdir()

    def add(self, member: tarfile.TarInfo, archive: tarfile.TarFile) -> None:
        """Make the next member of ``archive``; directories come before what is in them."""
        name = os.path.normpath(member.name)
        if member.isdir() and name == ".":
            self._directories[name] = member
            return
        path = self._place(member.name)
        if os.path.lexists(path):
            raise click.ClickException(f"the archive has two members called {member.name!r}")
        if member.islnk():
            os.link(self._place(member.linkname), path, follow_symlinks=False)
        elif member.isdir():
            path.mkdir(0o700)
            self._directories[name] = member
        else:
            _make(path, member, archive)
            _finish(path, member)

    def settle(self) -> None:
        """Set what is a directory's own when it is full: a default access control list would be handed down."""
        for name, member in reversed(self._directories.items()):
            if member is not None:
                _finish(self.root / name, member)

    def _place(self, name: str) -> Path:
        """Where a member lies: in a directory that the archive has told of."""
        parent, base = os.path.split(name.removeprefix("./"))
        if (parent or ".") not in self._directories or base in ("", ".", ".."):
            raise click.ClickException(f"the archive's {name!r} lies outside of the image")
        return self.root / parent / base


def _make(path: Path, member: tarfile.TarInfo, archive: tarfile.TarFile) -> None:
    if member.isreg():
        archive.makefile(member, path)
    elif member.issym():
        path.symlink_to(member.linkname)
    elif member.type in _SPECIAL:
        os.mknod(path, _SPECIAL[member.type] | 0o600, os.makedev(member.devmajor, member.devminor))
    else:
        raise click.ClickException(f"the archive's {member.name!r} is of an unknown type")


def _finish(path: Path, member: tarfile.TarInfo) -> None:
    os.chown(path, member.uid, member.gid, follow_symlinks=False)
    for header, value in member.pax_headers.items():
        if header.startswith(_ATTRIBUTE):
            name = header.removeprefix(_ATTRIBUTE).replace("%3D", "=").replace("%25", "%")
            os.setxattr(path, name, value.encode(errors="surrogateescape"), follow_symlinks=False)
    if not member.issym():
        path.chmod(member.mode)
    time = _nanoseconds(member)
    os.utime(path, ns=(time, time), follow_symlinks=False)


def _nanoseconds(member: tarfile.TarInfo) -> int:
    try:
        return int(Decimal(member.pax_headers.get("mtime", member.mtime)) * 1_000_000_000)
    except InvalidOperation:
        return int(member.mtime) * 1_000_000_000
