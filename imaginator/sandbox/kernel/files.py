"""Opening files beneath a root, and getting them to the disk."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from functools import cache

from imaginator.sandbox.kernel.calls import call, check, libc

RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

_SIZE_OF_HOW = ctypes.c_size_t(24)

_TRIES = 1000
"""How often a path with ``..`` is looked up while others rename what lies on it (EAGAIN)."""


def open_beneath(root: int, path: bytes, flags: int, links: bool = True) -> int:
    """openat2(2): open ``path`` as if ``root`` were the root directory; neither ``..`` nor a link leads out of it.

    Without ``links`` a link on the way is an error (ELOOP).
    """
    return _open(root, path, flags, RESOLVE_IN_ROOT | (RESOLVE_NO_MAGICLINKS if links else RESOLVE_NO_SYMLINKS))


def open_within(directory: int, path: bytes, flags: int, links: bool) -> int:
    """openat2(2): open a path below ``directory``; where ``..`` or a link leads out of it, that is an error (EXDEV).

    Without ``links`` a link on the way is one too (ELOOP).
    """
    return _open(directory, path, flags, RESOLVE_BENEATH | (RESOLVE_NO_MAGICLINKS if links else RESOLVE_NO_SYMLINKS))


def _open(directory: int, path: bytes, flags: int, resolve: int) -> int:
    how = _how(flags | os.O_CLOEXEC, resolve)
    relative = path.lstrip(b"/") or b"."
    for left in reversed(range(_TRIES)):
        try:
            return call("openat2", directory, relative, how, _SIZE_OF_HOW)
        except OSError as error:
            if error.errno != errno.EAGAIN or not left:
                raise OSError(error.errno, error.strerror, os.fsdecode(path)) from None
    raise AssertionError("the last try returns or raises")


@cache
def _how(flags: int, resolve: int) -> bytes:
    """openat2(2)'s ``struct open_how``."""
    return struct.pack("QQQ", flags, 0, resolve)


def sync_file_system(descriptor: int) -> None:
    """syncfs(2): write everything of the file system that ``descriptor`` lies on to disk."""
    check(libc.syncfs(descriptor), "syncfs")
