"""Two trees that ought to be the same, an overlay as a build has it and a plain copy: all is done to both."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import stat
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")
"""``cap_net_raw+ep`` as the kernel keeps it, version 2 (linux/capability.h)."""
ACL = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHi", *entry) for entry in ((1, 6, -1), (2, 5, 1000), (4, 4, -1), (0x10, 5, -1), (0x20, 0, -1))
)
"""An access control list of one more user (linux/posix_acl_xattr.h)."""
OLD = 1_000_000_000 * 10**9
"""A time before any test, in nanoseconds since 1970."""


class Twins(NamedTuple):
    """The roots of both trees."""

    overlay: bytes
    copy: bytes

    def do(self, work: Callable[[bytes], object]) -> None:
        """Do something below each root; it must succeed, or fail for the same reason, in both."""
        overlay, copy = (_outcome(work, root) for root in self)
        assert overlay == copy

    def move(self, source: bytes, target: bytes) -> None:
        """Rename, or copy and remove where overlayfs cannot rename, as mv(1) does."""
        outcome = _outcome(lambda root: os.rename(root + source, root + target), self.overlay)
        if outcome != errno.EXDEV:
            assert outcome == _outcome(lambda root: os.rename(root + source, root + target), self.copy)
            return
        if not (target + b"/").startswith(source + b"/"):
            self.do(lambda root: _copy_and_remove(root + source, root + target))

    def settle_times(self) -> None:
        """Give what has been touched since the trees were made the same time in both, since no clock is."""
        for root in self:
            for path in list(everything(root)):
                if os.lstat(root + path).st_mtime_ns > OLD * 3 // 2:
                    time = OLD + hash_of(path)
                    os.utime(root + path, ns=(time, time), follow_symlinks=False)


def hash_of(path: bytes) -> int:
    """A number below a second, in nanoseconds, that follows from a path."""
    return int.from_bytes(path, "big") % 10**9


def _outcome(work: Callable[[bytes], object], root: bytes) -> int:
    """The number of the error, 0 for success."""
    try:
        work(root)
    except OSError as error:
        return error.errno or -1
    except shutil.Error:
        return -2
    return 0


def _copy_and_remove(source: bytes, target: bytes) -> None:
    if os.path.lexists(target):
        os.rmdir(target)
    subprocess.run(["cp", "-a", "--", source, target], check=True)
    shutil.rmtree(source)


def everything(root: bytes) -> Iterator[bytes]:
    """Every path below a root, and ``/``, children before their directories."""
    for place, directories, files in os.walk(root, topdown=False):
        for name in [*files, *(name for name in directories if os.path.islink(os.path.join(place, name)))]:
            yield os.path.join(place, name)[len(root) :]
        yield place[len(root) :] or b"/"


def make_source(root: Path) -> None:
    """Something of everything, with times long ago."""
    for directory in ("a/b", "a/d", "d/a", "tmp"):
        (root / directory).mkdir(parents=True)
    for name in ("a/a", "a/b/a", "d/b", "b"):
        (root / name).write_text(name)
    os.link(root / "b", root / "d/d")
    os.link(root / "b", root / "a/b/b")
    os.link(root / "d/b", root / "d/a/a")
    (root / "a/b/d").symlink_to("a")
    os.mkfifo(root / "d/a/b")
    os.mknod(root / "d/a/d", stat.S_IFCHR | 0o640, os.makedev(1, 3))
    os.setxattr(root / "a/a", "security.capability", CAPABILITY)
    os.setxattr(root / "a", "trusted.test", b"1")
    (root / "d/b").chmod(0o4755)
    os.chown(root / "d", 11, 12)
    for path in everything(os.fsencode(root)):
        os.utime(os.fsencode(root) + path, ns=(OLD, OLD + 7), follow_symlinks=False)


def write(path: bytes, content: bytes, offset: int, flags: int) -> None:
    """Write into a file, which is made where it is missing; a device of the host is never opened."""
    if os.path.exists(path) and not os.path.isfile(path):
        raise OSError(errno.EINVAL, "not a regular file")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | flags, 0o644)
    try:
        if flags & os.O_APPEND:
            os.write(descriptor, content)
        elif content:
            os.pwrite(descriptor, content, offset)
    finally:
        os.close(descriptor)


def truncate(path: bytes, size: int) -> None:
    """Set a regular file's size."""
    if not os.path.isfile(path):
        raise OSError(errno.EINVAL, "not a regular file")
    os.truncate(path, size)


def remove_attribute(path: bytes, name: str) -> None:
    """Remove an attribute where it is; file systems do not agree on what it means to remove none."""
    if name in os.listxattr(path, follow_symlinks=False):
        os.removexattr(path, name, follow_symlinks=False)


def remove(path: bytes) -> None:
    """Remove whatever is there."""
    if stat.S_ISDIR(os.lstat(path).st_mode):
        shutil.rmtree(path)
    else:
        os.unlink(path)


def replace_directory(path: bytes) -> None:
    """Remove a directory and make another one in its place."""
    if not stat.S_ISDIR(os.lstat(path).st_mode):
        raise NotADirectoryError(errno.ENOTDIR, "not a directory")
    shutil.rmtree(path)
    os.mkdir(path)


def bind_socket(path: bytes) -> None:
    """Leave a socket."""
    with socket.socket(socket.AF_UNIX) as server, _in(os.path.dirname(path)):
        server.bind(b"./" + os.path.basename(path))


class _in:  # noqa: N801 - reads like a word
    """Work in a directory for a while: the names of sockets are short."""

    def __init__(self, directory: bytes) -> None:
        self._directory = directory

    def __enter__(self) -> None:
        self._before = os.open(".", os.O_RDONLY)
        os.chdir(self._directory)

    def __exit__(self, *error: object) -> None:
        os.fchdir(self._before)
        os.close(self._before)
