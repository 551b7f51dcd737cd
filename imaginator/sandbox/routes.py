"""What the host's routing tables say: which addresses are the host's own, and whether it speaks IPv6. See proc(5).

Of the network namespace that the process is in. Standard library only (see `holder`).
"""

from __future__ import annotations

from collections.abc import Iterator

_FOLDER = "/proc/self/net"

_OWN_IPV4 = (["host", "LOCAL"], ["link", "BROADCAST"])
"""The routes of IPv4 that end on this machine."""

_OWN_IPV6 = 0x80000000 | 0x00100000
"""The same of IPv6: RTF_LOCAL and RTF_ANYCAST (linux/ipv6_route.h)."""


def own_ipv4() -> list[str]:
    """The networks of IPv4 that this machine itself answers for, broadcast addresses included."""
    return sorted(set(_own_ipv4()))


def _own_ipv4() -> Iterator[str]:
    address = ""
    with open(f"{_FOLDER}/fib_trie") as file:
        for words in map(str.split, file):
            if words[0] == "|--":
                address = words[1]
            elif words[1:3] in _OWN_IPV4:
                yield address + words[0]


def own_ipv6() -> list[str]:
    """The networks of IPv6 that this machine itself answers for."""
    return sorted({network for network, flags, _ in _ipv6_routes() if flags & _OWN_IPV6})


def reaches_ipv6() -> bool:
    """Whether there is a way to other networks by IPv6."""
    return any(network.endswith("/0") and device != "lo" for network, _, device in _ipv6_routes())


def _ipv6_routes() -> Iterator[tuple[str, int, str]]:
    """Destination, flags and interface of each route; none on a machine without IPv6."""
    try:
        with open(f"{_FOLDER}/ipv6_route") as file:
            lines = [line.split() for line in file]
    except FileNotFoundError:
        return
    for words in lines:
        groups = ":".join(words[0][place : place + 4] for place in range(0, 32, 4))
        yield f"{groups}/{int(words[1], 16)}", int(words[8], 16), words[9]
