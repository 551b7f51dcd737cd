"""Namespaces: left for new ones, joined, and the ids of a user namespace. See namespaces(7)."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

from imaginator.sandbox.kernel.calls import check, libc

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000


def unshare(flags: int) -> None:
    """unshare(2): leave the given namespaces for new ones."""
    check(libc.unshare(flags), "unshare")


def join(descriptor: int, kind: int) -> None:
    """setns(2): enter the namespace that an open file of ``/proc/PID/ns`` names; ``kind`` is its CLONE_NEW flag."""
    check(libc.setns(descriptor, kind), "setns")


@contextmanager
def visited(descriptor: int, name: str, kind: int) -> Iterator[None]:
    """Be in another namespace in this context; for kinds that one can come back from: not ``user``, not ``pid``.

    ``name`` is the namespace's name in ``/proc/PID/ns``. Only for processes without threads, whose others would stay.
    """
    home = open_namespace(os.getpid(), name)
    try:
        join(descriptor, kind)
        try:
            yield
        finally:
            join(home, kind)
    finally:
        os.close(home)


def map_ids(pid: int, first: int, count: int) -> None:
    """user_namespaces(7): let ids 0 to ``count`` of a process' new user namespace be ``first`` and on outside."""
    for name in ("uid_map", "gid_map"):
        with open(f"/proc/{pid}/{name}", "wb", buffering=0) as file:
            file.write(b"0 %d %d\n" % (first, count))


def open_namespace(pid: int, name: str) -> int:
    """A descriptor that keeps a namespace of a process, such as ``user`` or ``net``, for `join`."""
    return os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC)


def set_host_name(name: bytes) -> None:
    """sethostname(2): what this UTS namespace is called."""
    check(libc.sethostname(name, ctypes.c_size_t(len(name))), "sethostname")
