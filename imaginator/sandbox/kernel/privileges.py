"""What a process may do, and can never gain again. See capabilities(7) and credentials(7)."""

from __future__ import annotations

import ctypes
import os
import signal
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from imaginator.sandbox.kernel.calls import call, check, libc

CUSTOMARY = {
    "chown": 0,
    "dac_override": 1,
    "fowner": 3,
    "fsetid": 4,
    "kill": 5,
    "setgid": 6,
    "setuid": 7,
    "setpcap": 8,
    "net_bind_service": 10,
    "net_raw": 13,
    "sys_chroot": 18,
    "mknod": 27,
    "audit_write": 29,
    "setfcap": 31,
}
"""The capabilities that root has in a container of the usual engines, and their numbers (linux/capability.h)."""

_PR_SET_PDEATHSIG = 1
_PR_GET_PDEATHSIG = 2
_PR_CAPBSET_READ = 23
_PR_CAPBSET_DROP = 24
_PR_SET_SECUREBITS = 28
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_SECBIT_NO_SETUID_FIXUP = 4
_CAPABILITY_VERSION_3 = 0x20080522
_KEYCTL_JOIN_SESSION_KEYRING = 1


def _prctl(option: int, value: int, what: str) -> None:
    # Every argument has the width of a long: prctl(2) refuses rubbish in those that it does not use.
    zero = ctypes.c_ulong(0)
    check(libc.prctl(option, ctypes.c_ulong(value), zero, zero, zero), what)


def die_with_parent(parent: int) -> None:
    """PR_SET_PDEATHSIG of prctl(2): be killed when the parent ends; ends at once where ``parent`` is it no more.

    A change of the process' ids, of the file system's too, clears this: it is to be called again after one.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, "prctl PR_SET_PDEATHSIG")
    if parent and os.getppid() != parent:
        os._exit(125)


@contextmanager
def files_as(owner: int, group: int | None = None) -> Iterator[None]:
    """setfsuid(2): what is made in this context belongs to ``owner`` and ``group``, by default the same number.

    The capabilities over files stay meanwhile (SECBIT_NO_SETUID_FIXUP of capabilities(7)), and the process goes on to
    die with its parent: Linux forgets that where ids change.
    """
    parent, dies = os.getppid(), _dies_with_parent()
    _prctl(_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP, "prctl PR_SET_SECUREBITS")
    libc.setfsgid(owner if group is None else group)
    libc.setfsuid(owner)
    try:
        yield
    finally:
        libc.setfsuid(0)
        libc.setfsgid(0)
        _prctl(_PR_SET_SECUREBITS, 0, "prctl PR_SET_SECUREBITS")
        if dies:
            die_with_parent(parent)


def _dies_with_parent() -> bool:
    number = ctypes.c_int()
    check(libc.prctl(_PR_GET_PDEATHSIG, ctypes.byref(number), 0, 0, 0), "prctl PR_GET_PDEATHSIG")
    return number.value != 0


def become_root() -> None:
    """setresuid(2), setgroups(2): be root and of no other group, in the user namespace that the process is in."""
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def keep_only(capabilities: Iterable[int]) -> None:
    """capset(2): have these capabilities and no other, also after any execve(2); none is inherited or ambient."""
    kept = sum(1 << capability for capability in capabilities)
    capability = 0
    while libc.prctl(_PR_CAPBSET_READ, ctypes.c_ulong(capability), 0, 0, 0) >= 0:  # EINVAL after the last one
        if not kept >> capability & 1:
            _prctl(_PR_CAPBSET_DROP, capability, "prctl PR_CAPBSET_DROP")
        capability += 1
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, "prctl PR_CAP_AMBIENT")
    low, high = kept & 0xFFFFFFFF, kept >> 32
    header = struct.pack("Ii", _CAPABILITY_VERSION_3, 0)
    call("capset", header, struct.pack("6I", low, low, 0, high, high, 0))


def gain_nothing() -> None:
    """PR_SET_NO_NEW_PRIVS of prctl(2): no execve(2) gives this process or a child of it any privilege."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1, "prctl PR_SET_NO_NEW_PRIVS")


def leave_session_keyring() -> None:
    """keyctl(2): have a session keyring of one's own, empty; see session-keyring(7)."""
    call("keyctl", ctypes.c_long(_KEYCTL_JOIN_SESSION_KEYRING), None)
