"""Who is connected: so many that builds always find descriptors, and from one address so few that others find a place.

Where there is no place left, whoever has been waited for the longest makes room, be it for a request or for taking an
answer. Who takes what it is answered never does.
"""

from __future__ import annotations

import resource
from collections import Counter
from collections.abc import Callable
from ipaddress import IPv6Address

from twisted.internet.interfaces import IAddress

MOST = 4096
"""Connections, wherever there are descriptors for them: what is kept of an idle one is some 40 kB with TLS."""

RESERVE = 1024
"""Descriptors for everything else: builds, objects, downloads, the catalogue."""

_SUBNET = 8
"""Bytes of an IPv6 address that tell whose it is: the rest its owner chooses freely."""

Cut = Callable[[], None]


def most_connections() -> int:
    """How many connections this process has descriptors for: at least half of all that it may have."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(MOST, max(limit - RESERVE, limit // 2))


class Crowd:
    """The connections, known by their peers' addresses; one address has at most half of the places."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._cuts: dict[IAddress, Cut] = {}
        self._waiting: dict[IAddress, None] = {}
        self._origins: Counter[str | bytes] = Counter()

    @property
    def count(self) -> int:
        """How many connections have a place."""
        return len(self._cuts)

    def enter(self, peer: IAddress, cut: Cut) -> bool:
        """Whether a new connection finds a place; ``cut`` ends it when others need that."""
        self.leave(peer)
        own = origin(peer)
        if self._origins[own] >= max(self._most // 2, 1) and not self._make_room(lambda one: origin(one) == own):
            return False
        if len(self._cuts) >= self._most and not self._make_room(lambda one: True):
            return False
        self._cuts[peer] = cut
        self._waiting[peer] = None
        self._origins[own] += 1
        return True

    def leave(self, peer: IAddress) -> None:
        """A connection has ended, if it was there."""
        self._waiting.pop(peer, None)
        if self._cuts.pop(peer, None) is not None:
            self._origins -= Counter((origin(peer),))

    def busy(self, peer: IAddress) -> None:
        """A request is being answered, and the answer taken."""
        self._waiting.pop(peer, None)

    def waited_for(self, peer: IAddress) -> None:
        """It is the client's turn from now on."""
        if peer in self._cuts:
            self._waiting[peer] = None

    def _make_room(self, among: Callable[[IAddress], bool]) -> bool:
        longest = next(filter(among, self._waiting), None)
        if longest is None:
            return False
        cut = self._cuts[longest]
        self.leave(longest)
        cut()
        return True


def origin(peer: IAddress) -> str | bytes:
    """What tells whose an address is; a port does not."""
    host = str(getattr(peer, "host", ""))
    if ":" not in host:
        return host
    address = IPv6Address(host.partition("%")[0])
    return str(address.ipv4_mapped or "") or address.packed[:_SUBNET]
