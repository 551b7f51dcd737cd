"""Who finds a place at the port, and who makes room for others."""

from __future__ import annotations

import resource

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

from imaginator.web.crowd import MOST, RESERVE, Crowd, most_connections, origin

Peer = IPv4Address | IPv6Address


def peer(host: str, port: int) -> Peer:
    """A peer's address."""
    return IPv6Address("TCP", host, port) if ":" in host else IPv4Address("TCP", host, port)


class Door:
    """A crowd of at most four, and who was cut."""

    def __init__(self) -> None:
        self.crowd = Crowd(4)
        self.cut: list[tuple[str, int]] = []

    def come(self, host: str, port: int) -> bool:
        """Somebody connects."""
        one = peer(host, port)
        return self.crowd.enter(one, lambda: self.cut.append((host, port)))


@pytest.fixture
def door() -> Door:
    """Two of one address and two of others are there already."""
    door = Door()
    for host, port in [("10.0.0.1", 1), ("10.0.0.1", 2), ("10.0.0.2", 1), ("10.0.0.3", 1)]:
        assert door.come(host, port)
    return door


def test_the_longest_waited_for_makes_room(door: Door) -> None:
    """One more, and the first is cut; whose requests are answered are left alone, and wait anew after that."""
    door.crowd.busy(peer("10.0.0.1", 1))
    door.crowd.busy(peer("10.0.0.2", 1))
    door.crowd.waited_for(peer("10.0.0.2", 1))
    assert all(door.come("10.0.0.4", port) for port in (1, 2))

    assert [("10.0.0.1", 2), ("10.0.0.3", 1)] == door.cut
    assert door.come("10.0.0.5", 1)
    assert ("10.0.0.2", 1) == door.cut[-1]


def test_one_address_has_half(door: Door) -> None:
    """Its third connection costs it its own first one, nobody else's; with both busy it finds no place."""
    door.crowd.leave(peer("10.0.0.3", 1))
    assert door.come("10.0.0.1", 3)
    door.crowd.busy(peer("10.0.0.1", 2))
    door.crowd.busy(peer("10.0.0.1", 3))

    assert not door.come("10.0.0.1", 4)
    assert [("10.0.0.1", 1)] == door.cut
    assert door.come("10.0.0.3", 2)


def test_no_place_while_all_are_busy(door: Door) -> None:
    """Who is being answered is not given up; a place that is left is free."""
    for host, port in [("10.0.0.1", 1), ("10.0.0.1", 2), ("10.0.0.2", 1), ("10.0.0.3", 1)]:
        door.crowd.busy(peer(host, port))

    assert not door.come("10.0.0.4", 1)
    door.crowd.leave(peer("10.0.0.1", 1))
    door.crowd.leave(peer("10.0.0.1", 1))
    assert door.come("10.0.0.4", 1)
    assert not door.come("10.0.0.5", 1) or door.cut


def test_who_has_gone_is_not_waited_for(door: Door) -> None:
    """The end of an answer to somebody who has left brings nobody back."""
    door.crowd.leave(peer("10.0.0.1", 1))
    door.crowd.waited_for(peer("10.0.0.1", 1))

    assert door.come("10.0.0.4", 1)
    assert door.come("10.0.0.5", 1)
    assert [("10.0.0.1", 2)] == door.cut


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("10.0.0.1", "10.0.0.2", False),
        ("10.0.0.1", "::ffff:10.0.0.1", True),
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2", True),
    ],
)
def test_origin(one: str, other: str, same: bool) -> None:
    """An IPv6 address is one with its neighbours, an IPv4 address with itself in IPv6's spelling."""
    assert same == (origin(peer(one, 1)) == origin(peer(other, 2)))


def test_an_address_without_a_host() -> None:
    """Whatever has no host counts as one."""
    assert "" == origin(UNIXAddress(b"/run/x"))


@pytest.mark.parametrize(("limit", "most"), [(256, 128), (1024, 512), (RESERVE + 1500, 1500), (1_000_000, MOST)])
def test_descriptors_are_left(monkeypatch: pytest.MonkeyPatch, limit: int, most: int) -> None:
    """Builds find at least half of the descriptors, or a reserve."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))

    assert most == most_connections()
