"""How a system call is made, and how it fails: as an `OSError` that names the call. See syscall(2)."""

from __future__ import annotations

import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)

_MACHINE = os.uname().machine
_NUMBERS = {
    "x86_64": {"capset": 126, "keyctl": 250, "pivot_root": 155, "seccomp": 317},
    "aarch64": {"capset": 91, "keyctl": 219, "pivot_root": 41, "seccomp": 277},
}
_COMMON = {"open_tree": 428, "move_mount": 429, "openat2": 437, "pidfd_getfd": 438, "mount_setattr": 442}
"""What came after the numbers of all machines were made one (include/uapi/asm-generic/unistd.h)."""


def check(result: int, what: str) -> int:
    """The result of a call; raises `OSError` with its errno and ``what`` as the name where it failed."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
    return int(result)


def number(name: str) -> int:
    """The number of a call on this machine; raises `OSError` on one for which it was never written down."""
    try:
        return _COMMON.get(name) or _NUMBERS[_MACHINE][name]
    except KeyError:
        raise OSError(f"the sandbox knows no system calls of {_MACHINE}: expected x86_64 or aarch64") from None


def call(name: str, *arguments: object, what: str = "") -> int:
    """Make a call that libc has no function for; pointers are bytes or ctypes objects, sizes ``c_size_t``."""
    return check(libc.syscall(ctypes.c_long(number(name)), *arguments), what or name)
