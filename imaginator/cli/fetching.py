"""An image's archive on its way to disk: kept as a file, or unpacked as root exactly as it was built.

Both are made under a temporary name beside the wanted one, and get their name when they are whole.
"""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from io import BufferedIOBase
from pathlib import Path

import click

_ATTRIBUTE = "SCHILY.xattr."
"""The PAX header prefix of extended attributes, as GNU tar and libarchive write them."""


def save(archive: BufferedIOBase, path: Path) -> None:
    """Write an archive to ``path``."""
    with _partial(path.parent, path.name) as folder:
        fresh = folder / "archive"
        with fresh.open("wb") as file:
            shutil.copyfileobj(archive, file)
        fresh.replace(path)


def unpack(archive: BufferedIOBase, directory: Path) -> None:
    """Unpack an archive as ``directory``, which must be missing or empty: owners, modes, times, devices, attributes."""
    if os.geteuid() != 0:
        raise click.ClickException("unpacking an image needs root, which may give files their owners; or save FILE.tar")
    if directory.exists() and any(directory.iterdir()):
        raise click.ClickException(f"{directory}: expected an empty directory or none")
    with _partial(directory.parent, directory.name) as folder:
        root = folder / "root"
        root.mkdir()
        _unpack_into(root, archive)
        root.replace(directory)


@contextmanager
def _partial(parent: Path, name: str) -> Iterator[Path]:
    """A private folder in ``parent`` that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix=f".{name}.", dir=parent, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _unpack_into(root: Path, archive: BufferedIOBase) -> None:
    directories: list[tarfile.TarInfo] = []
    # Forward only: the archive comes from a connection.
    with tarfile.open(fileobj=archive, mode="r|", errors="surrogateescape") as members:
        # Everything is kept as it is: the image is to be what was built, set-id bits and devices included.
        members.extraction_filter = lambda member, _path: member
        for member in members:
            _check_inside(root, member.name)
            # A directory's are set when it is full; another name of a file must not disturb what the first one set.
            set_now = not (member.isdir() or member.islnk())
            members.extract(member, root, set_attrs=set_now, numeric_owner=True)
            if member.isdir():
                directories.append(member)
            else:
                _finish(_path(root, member), member)
    for member in reversed(directories):
        path = _path(root, member)
        os.chown(path, member.uid, member.gid)
        path.chmod(member.mode)
        _finish(path, member)


def _path(root: Path, member: tarfile.TarInfo) -> Path:
    return root / member.name


def _check_inside(root: Path, name: str) -> None:
    """Refuse a member that would be written through a link, or upwards."""
    parent = (root / name).parent.resolve() if name not in (".", "") else root.resolve()
    if ".." in Path(name).parts or name.startswith("/") or not parent.is_relative_to(root.resolve()):
        raise click.ClickException(f"the archive's {name!r} lies outside of the image")


def _finish(path: Path, member: tarfile.TarInfo) -> None:
    """Set what tarfile leaves out: extended attributes, and times to the nanosecond, of links as well."""
    if member.islnk():
        return
    for header, value in member.pax_headers.items():
        if header.startswith(_ATTRIBUTE):
            name = header.removeprefix(_ATTRIBUTE)
            os.setxattr(path, name, value.encode(errors="surrogateescape"), follow_symlinks=False)
    time = _nanoseconds(member)
    os.utime(path, ns=(time, time), follow_symlinks=False)


def _nanoseconds(member: tarfile.TarInfo) -> int:
    try:
        return int(Decimal(member.pax_headers.get("mtime", member.mtime)) * 1_000_000_000)
    except InvalidOperation:
        return int(member.mtime) * 1_000_000_000
