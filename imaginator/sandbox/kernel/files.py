"""Opening files beneath a root, and getting them to the disk."""

from __future__ import annotations

import ctypes
import os
import struct

from imaginator.sandbox.kernel.calls import call, check, libc

RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_IN_ROOT = 0x10


def open_beneath(root: int, path: bytes, flags: int, links: bool = True) -> int:
    """openat2(2): open ``path`` as if ``root`` were the root directory; neither ``..`` nor a link leads out of it.

    Without ``links`` a link on the way is an error (ELOOP).
    """
    resolve = RESOLVE_IN_ROOT | (RESOLVE_NO_MAGICLINKS if links else RESOLVE_NO_SYMLINKS)
    how = struct.pack("QQQ", flags | os.O_CLOEXEC, 0, resolve)
    relative = path.lstrip(b"/") or b"."
    return call("openat2", root, relative, how, ctypes.c_size_t(len(how)), what=os.fsdecode(path))


def sync_file_system(descriptor: int) -> None:
    """syncfs(2): write everything of the file system that ``descriptor`` lies on to disk."""
    check(libc.syncfs(descriptor), "syncfs")
