"""Filters of system calls, and calls that wait for a supervisor's answer. See seccomp(2) and seccomp_unotify(2)."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import struct

from imaginator.sandbox.kernel.calls import call

_SET_MODE_FILTER = 1
_NEW_LISTENER = 8
_WAIT_KILLABLE = 32
"""Flags of linux/seccomp.h; the last one (Linux 5.19) keeps signals from repeating a call that is being answered."""

_RECEIVE = 0xC0502100
_SEND = 0xC0182101
_STILL_VALID = 0x40082102
_NOTIFICATION = "QIIiIQ6Q"
"""struct seccomp_notif with struct seccomp_data: id, pid, flags, call number, machine, instruction, six arguments."""


class Request:
    """One call that waits: of process ``pid``, with its number on a machine (AUDIT_ARCH of linux/audit.h)."""

    def __init__(self, notification: bytes) -> None:
        fields = struct.unpack(_NOTIFICATION, notification)
        self.identifier: int = fields[0]
        self.pid: int = fields[1]
        self.number: int = fields[3]
        self.machine: int = fields[4]
        self.arguments: tuple[int, ...] = fields[6:]


def filter_calls(program: bytes, supervised: bool) -> int:
    """Let this process and what it starts make only the calls that a BPF program allows, from now on and for ever.

    Needs no_new_privs. Returns the listener's descriptor where calls are ``supervised``, else 0.
    """
    buffer = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: the number of instructions, of eight bytes each, and where they lie.
    described = struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(buffer))
    flags = _NEW_LISTENER | _WAIT_KILLABLE if supervised else 0
    return call("seccomp", ctypes.c_long(_SET_MODE_FILTER), ctypes.c_ulong(flags), described)


def fetch_descriptor(pid: int, number: int) -> int:
    """pidfd_getfd(2): a copy of a descriptor that another process has open."""
    process = os.pidfd_open(pid)
    try:
        return call("pidfd_getfd", process, number, 0)
    finally:
        os.close(process)


def receive(listener: int) -> Request | None:
    """The next call that waits; None where its process was killed meanwhile."""
    buffer = bytearray(struct.calcsize(_NOTIFICATION))
    while True:
        try:
            fcntl.ioctl(listener, _RECEIVE, buffer)
        except FileNotFoundError:
            return None
        except InterruptedError:
            continue  # Python repeats other calls by itself
        return Request(bytes(buffer))


def still_waits(listener: int, request: Request) -> bool:
    """Whether the process of a request is still the one that made it: its id might be another's by now."""
    try:
        fcntl.ioctl(listener, _STILL_VALID, struct.pack("Q", request.identifier))
    except FileNotFoundError:
        return False
    return True


def answer(listener: int, request: Request, error: int) -> None:
    """Let the call return 0, or fail with an errno."""
    with contextlib.suppress(FileNotFoundError):  # killed meanwhile
        fcntl.ioctl(listener, _SEND, struct.pack("QqiI", request.identifier, 0, -error, 0))
