"""Network interfaces of the namespace that the process is in: started, and given addresses. See netdevice(7)."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from imaginator.sandbox.kernel.calls import check, libc

_AF_INET = 2
_AF_INET6 = 10
_SOCK_DGRAM = 2
_SOCK_CLOEXEC = 0o2000000
_SIOCADDRT = 0x890B
_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_SIOCSIFADDR = 0x8916
_SIOCGIFINDEX = 0x8933
_IFF_UP = 0x1
_RTF_UP = 0x1
_RTF_GATEWAY = 0x2
_METRIC = 1024
"""The weight of a route that says nothing of it (linux/ipv6_route.h)."""

_NAME = 16
"""Bytes of a ``struct ifreq`` before its value."""


def bring_up(name: str) -> None:
    """SIOCSIFFLAGS: let an interface work."""
    with _asked(_AF_INET) as socket:
        (flags,) = struct.unpack_from("H", fcntl.ioctl(socket, _SIOCGIFFLAGS, _named(name)), _NAME)
        fcntl.ioctl(socket, _SIOCSIFFLAGS, _named(name, struct.pack("H", flags | _IFF_UP)))


def add_ipv6(name: str, address: str, prefix: int, gateway: str) -> None:
    """SIOCSIFADDR, SIOCADDRT: give an interface an address, and send what goes to other networks to ``gateway``.

    They take a ``struct in6_ifreq`` and a ``struct in6_rtmsg`` (linux/ipv6.h, linux/ipv6_route.h).
    """
    with _asked(_AF_INET6) as socket:
        (index,) = struct.unpack_from("i", fcntl.ioctl(socket, _SIOCGIFINDEX, _named(name)), _NAME)
        fcntl.ioctl(socket, _SIOCSIFADDR, struct.pack("16sIi", packed_ipv6(address), prefix, index))
        ends = (b"", b"", packed_ipv6(gateway))
        route = struct.pack("16s16s16sIHHILIi", *ends, 0, 0, 0, _METRIC, 0, _RTF_UP | _RTF_GATEWAY, index)
        fcntl.ioctl(socket, _SIOCADDRT, route)


def packed_ipv6(address: str) -> bytes:
    """inet_pton(3): the bytes of an address of IPv6."""
    buffer = ctypes.create_string_buffer(16)
    if libc.inet_pton(_AF_INET6, address.encode(), buffer) != 1:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), address)
    return buffer.raw


def _named(name: str, value: bytes = b"") -> bytes:
    """A ``struct ifreq``."""
    return struct.pack("16s24s", name.encode(), value)


@contextmanager
def _asked(family: int) -> Iterator[int]:
    """socket(2): what these questions are put to. (Importing Python's socket takes as long as all of them.)"""
    socket = check(libc.socket(family, _SOCK_DGRAM | _SOCK_CLOEXEC, 0), "socket")
    try:
        yield socket
    finally:
        os.close(socket)
