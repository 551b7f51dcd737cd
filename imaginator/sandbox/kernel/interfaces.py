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
_AF_NETLINK = 16
_SOCK_DGRAM = 2
_SOCK_CLOEXEC = 0o2000000
_SIOCADDRT = 0x890B
_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_SIOCGIFINDEX = 0x8933
_IFF_UP = 0x1
_RTF_UP = 0x1
_RTF_GATEWAY = 0x2
_RTM_NEWADDR = 20
_IFA_LOCAL = 2
_IFA_F_NODAD = 0x2
_NLM_F_REQUEST = 0x1
_NLM_F_ACK = 0x4
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
    """RTM_NEWADDR, SIOCADDRT: give an interface an address, and send what goes to other networks to ``gateway``.

    The address is of use at once (IFA_F_NODAD of rtnetlink(7)): nobody asks first whether another has it.
    """
    with _asked(_AF_INET6) as socket:
        (index,) = struct.unpack_from("i", fcntl.ioctl(socket, _SIOCGIFINDEX, _named(name)), _NAME)
        _add_address(index, packed_ipv6(address), prefix)
        ends = (b"", b"", packed_ipv6(gateway))
        route = struct.pack("16s16s16sIHHILIi", *ends, 0, 0, 0, _METRIC, 0, _RTF_UP | _RTF_GATEWAY, index)
        fcntl.ioctl(socket, _SIOCADDRT, route)


def _add_address(index: int, address: bytes, prefix: int) -> None:
    """Ask over netlink(7), and wait for its answer, a ``struct nlmsgerr``."""
    body = struct.pack("BBBBi", _AF_INET6, prefix, _IFA_F_NODAD, 0, index)
    body += struct.pack("HH16s", 4 + len(address), _IFA_LOCAL, address)
    message = struct.pack("IHHII", 16 + len(body), _RTM_NEWADDR, _NLM_F_REQUEST | _NLM_F_ACK, 1, 0) + body
    with _asked(_AF_NETLINK) as socket:
        os.write(socket, message)
        (failure,) = struct.unpack_from("i", os.read(socket, 4096), 16)
    if failure:
        raise OSError(-failure, os.strerror(-failure), "RTM_NEWADDR")


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
