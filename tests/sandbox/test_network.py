"""What builds reach, in a twin of a host; each way that is closed is shown to be one where the rules are gone."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from imaginator.model.destinations import parse_destinations
from imaginator.sandbox import network as networks
from imaginator.sandbox.firewall import HOST_IPV4, HOST_IPV6, NAME_SERVER_IPV4
from imaginator.sandbox.kernel.namespaces import CLONE_NEWNET, visited
from imaginator.sandbox.network import Network, missing
from imaginator.sandbox.owners import UserNamespace
from imaginator.sandbox.uplink import Uplink
from tests.sandbox.test_process import wait_until_gone
from tests.support.twin_host import (
    METADATA,
    MIRROR_IPV4,
    MIRROR_IPV6,
    OTHER_PORT,
    OWN_IPV4,
    OWN_IPV6,
    PORT,
    as_build,
    ask,
    fetch,
    in_other_process,
    in_twin_host,
)

REFUSED = "ConnectionRefusedError"


class Build:
    """A build's networks, and what its root does in them."""

    def __init__(self, destinations: str = "any") -> None:
        self.user = UserNamespace()
        self.network = Network(self.user.descriptor, parse_destinations(destinations).plain())

    def fetch(self, address: str, port: int = PORT, online: bool = True) -> str:
        """What a service says to the build."""
        return str(as_build(self.user, self.network.namespace(online), lambda: fetch(address, port)))

    def change_rules(self, commands: str) -> None:
        """As no build can."""
        networks._filter(self.network.namespace(online=True), commands)


@contextmanager
def build(destinations: str = "any") -> Iterator[Build]:
    """A build in this process' network."""
    one = Build(destinations)
    try:
        yield one
    finally:
        one.network.close()


def test_mirrors_are_reached() -> None:
    """Of both versions, and the name server, which asks the host's."""

    def work() -> None:
        with build() as one:
            assert [MIRROR_IPV4, MIRROR_IPV6] == [one.fetch(MIRROR_IPV4), one.fetch(MIRROR_IPV6)]
            assert "127.0.0.1" == as_build(one.user, one.network.namespace(True), lambda: ask(NAME_SERVER_IPV4))
            assert [] == one.network.refused()

    in_twin_host(work)


CLOSED = [HOST_IPV4, OWN_IPV4, OWN_IPV6, METADATA, "::ffff:169.254.169.254"]


def test_the_host_and_link_local_addresses_are_closed() -> None:
    """The host's loopback and addresses, and metadata; without the rules each is reached."""

    def work() -> None:
        with build("any,host:81") as one:
            assert [REFUSED] * len(CLOSED) == [one.fetch(address) for address in CLOSED]
            one.change_rules("flush ruleset")
            here = "127.0.0.1"
            reached = [here, OWN_IPV4, OWN_IPV6, METADATA, METADATA]
            assert reached == [one.fetch(address) for address in CLOSED]

    in_twin_host(work)


def test_without_ports_of_the_host_its_loopback_is_out_of_reach_twice() -> None:
    """Were the rules gone, slirp4netns would not connect either."""

    def work() -> None:
        with build() as one:
            one.change_rules("flush ruleset")
            assert not {"127.0.0.1", "::1"} & {one.fetch(address) for address in (HOST_IPV4, HOST_IPV6)}

    in_twin_host(work)


def test_metadata_is_closed_as_link_local() -> None:
    """Not only as an address of the host, which it may be."""

    def work() -> None:
        with build() as one:
            one.change_rules("flush set inet imaginator own_ipv4")
            assert REFUSED == one.fetch(METADATA)
            assert [f"{METADATA} port {PORT} (tcp)"] == one.network.refused()
            assert [] == one.network.refused()

    in_twin_host(work)


def test_addresses_that_the_host_gets_meanwhile_are_closed() -> None:
    """By the start of the next command."""

    def work() -> None:
        with build() as one:
            assert MIRROR_IPV4 == one.fetch(MIRROR_IPV4)
            subprocess.run(["ip", "address", "add", MIRROR_IPV4, "dev", "lo"], check=True)
            assert REFUSED == one.fetch(MIRROR_IPV4)

    in_twin_host(work)


@pytest.mark.parametrize(
    ("destinations", "reached"),
    [
        ("203.0.113.0/24:80", [MIRROR_IPV4, REFUSED, REFUSED, REFUSED, REFUSED]),
        ("203.0.113.5", [MIRROR_IPV4, MIRROR_IPV4, REFUSED, REFUSED, REFUSED]),
        (f"[{MIRROR_IPV6}]:80", [REFUSED, REFUSED, MIRROR_IPV6, REFUSED, REFUSED]),
        ("host:80", [REFUSED, REFUSED, REFUSED, "127.0.0.1", REFUSED]),
        ("host:80, 0.0.0.0/0, ::/0", [MIRROR_IPV4, MIRROR_IPV4, MIRROR_IPV6, "127.0.0.1", REFUSED]),
    ],
)
def test_listed_destinations(destinations: str, reached: list[str]) -> None:
    """Nothing else is open; what closes a build off its host is closed whatever is listed."""

    def work() -> None:
        places = [(MIRROR_IPV4, PORT), (MIRROR_IPV4, OTHER_PORT), (MIRROR_IPV6, PORT), (HOST_IPV4, PORT)]
        with build(destinations) as one:
            assert reached == [one.fetch(*place) for place in [*places, (HOST_IPV4, OTHER_PORT)]]
            assert REFUSED == one.fetch(METADATA)

    in_twin_host(work)


def test_what_was_refused_is_bounded() -> None:
    """A build that tries every port fills no memory, and is refused all the same."""

    def work() -> None:
        def scan() -> int:
            return sum(fetch(HOST_IPV4, port) != REFUSED for port in range(1, 200))

        with build() as one:
            assert 0 == as_build(one.user, one.network.namespace(True), scan)
            assert 64 == len(one.network.refused())

    in_twin_host(work)


def test_raw_sockets_get_no_further() -> None:
    """A packet with a header of the build's own making passes the rules as any other."""

    def attempt(protocol: int, packet: bytes, address: str) -> str:
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol) as raw:
            try:
                raw.sendto(packet, (address, 0))
            except OSError as error:
                return type(error).__name__
            return "sent"

    def counted(one: Build) -> int:
        said = networks._filter(one.network.namespace(True), "list table inet imaginator")
        return int(said.partition("counter packets ")[2].split()[0])

    def work() -> None:
        address = socket.inet_aton(METADATA)
        header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28, 0, 0, 64, 17, 0, bytes(4), address)
        datagram = header + struct.pack("!HHHH", 1000, 80, 8, 0)
        echo = struct.pack("!BBHHH", 8, 0, 0xF7FF, 0, 0)
        with build() as one:
            one.change_rules("insert rule inet imaginator refuse counter")
            namespace = one.network.namespace(True)
            as_build(one.user, namespace, lambda: attempt(socket.IPPROTO_RAW, datagram, METADATA))
            as_build(one.user, namespace, lambda: attempt(socket.IPPROTO_ICMP, echo, METADATA))
            assert 2 == counted(one)

    in_twin_host(work)


SOCK_PACKET = 10
"""The old way to send frames: packet(7)."""
LABELS = {"IPv4": 0x0800, "ARP": 0x0806, "IPv6": 0x86DD, "something else": 0x88B5}


def _send_frame(way: str, label: int, frame: bytes) -> None:
    """Send a frame whose sender says of it that it is of the protocol ``label``; raises OSError where that fails."""
    if way == "packet socket":
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sender:
            sender.sendto(frame, ("tap0", label, 0, 0, frame[:6]))
        return
    libc = ctypes.CDLL(None, use_errno=True)
    with socket.socket(socket.AF_INET, SOCK_PACKET, 0) as sender:
        address = struct.pack("=H14sH", socket.AF_PACKET, b"tap0", socket.htons(label))  # struct sockaddr_pkt
        if libc.sendto(sender.fileno(), frame, len(frame), 0, address, len(address)) < 0:
            raise OSError(ctypes.get_errno(), "sendto")


def _is_answered(way: str, label: int, tries: int = 1) -> bool:
    """Whether the host's loopback answers to one of some frames with a datagram for it, within a third of a second."""
    return any(_is_one_answered(way, label) for _ in range(tries))


def _is_one_answered(way: str, label: int) -> bool:
    source, target = socket.inet_aton("10.0.2.100"), socket.inet_aton(HOST_IPV4)
    packet = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 29, 0, 0, 64, 17, 0, source, target)
    packet = packet[:10] + struct.pack("!H", _checksum(packet)) + packet[12:]
    frame = bytes.fromhex("52550a000202 020202020202 0800") + packet + struct.pack("!HHHH", 1000, 53, 9, 0) + b"?"
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3)) as frames:
        frames.settimeout(0.3)
        try:
            _send_frame(way, label, frame)
            while b"127.0.0.1" not in frames.recv(2000):
                pass
        except OSError:  # ENOBUFS is what Linux says of a frame that is dropped here
            return False
        return True


@pytest.mark.parametrize("way", ["packet socket", "SOCK_PACKET"])
def test_frames_get_no_further(way: str) -> None:
    """A packet socket passes no hook for packets, so the way out has one of its own: it looks into the frame.

    What the sender says of it counts for nothing.
    """

    def work() -> None:
        with build("any,host:80") as one:
            namespace = one.network.namespace(True)
            answered = [
                name for name in LABELS if as_build(one.user, namespace, partial(_is_answered, way, LABELS[name]))
            ]
            assert [] == answered
            one.change_rules("delete table netdev imaginator")
            for label in ("ARP", "IPv4"):
                assert as_build(one.user, namespace, partial(_is_answered, way, LABELS[label], tries=30))

    in_twin_host(work)


def _checksum(header: bytes) -> int:
    """Of a header of IPv4 (RFC 1071)."""
    total: int = sum(struct.unpack(f"!{len(header) // 2}H", header))
    return ~(total + (total >> 16)) & 0xFFFF


def test_the_rules_cannot_be_changed_from_within() -> None:
    """Not by the root that the build has."""

    def flush() -> str:
        return subprocess.run(["nft", "flush", "ruleset"], capture_output=True, text=True).stderr

    def work() -> None:
        with build() as one:
            assert "Operation not permitted" in as_build(one.user, one.network.namespace(True), flush)
            assert REFUSED == one.fetch(METADATA)

    in_twin_host(work)


def test_builds_do_not_reach_each_other() -> None:
    """What listens in one is not there for another; a loopback is a build's own."""

    def knock(address: str) -> Callable[[], bool]:
        def knocking() -> bool:
            with socket.socket() as caller:
                return caller.connect_ex((address, 4000)) == 0

        return knocking

    def work() -> None:
        with build() as one, build() as other:
            place, others = (each.network.namespace(online=True) for each in (one, other))
            with visited(place, "net", CLONE_NEWNET), socket.create_server(("0.0.0.0", 4000)):
                for address in ("127.0.0.1", "10.0.2.100"):
                    assert as_build(one.user, place, knock(address))
                for address in ("127.0.0.1", "10.0.2.100", HOST_IPV4):
                    assert not as_build(other.user, others, knock(address))

    in_twin_host(work)


def test_offline_is_a_loopback_alone() -> None:
    """Which works, and is not the one that goes with the way out."""

    def talk_to_itself() -> str:
        with socket.create_server(("127.0.0.1", 4000)), socket.create_connection(("127.0.0.1", 4000)):
            return "heard"

    def work() -> None:
        with build() as one:
            offline = one.network.namespace(online=False)
            assert "heard" == as_build(one.user, offline, talk_to_itself)
            assert ["lo"] == as_build(one.user, offline, lambda: [name for _, name in socket.if_nameindex()])
            assert "OSError" == one.fetch(MIRROR_IPV4, online=False)
            assert offline == one.network.namespace(online=False) != one.network.namespace(online=True)

    in_twin_host(work)


def test_who_makes_a_namespace_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """That is said."""
    monkeypatch.setattr(networks, "_make_and_hold", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(OSError, match="no network namespace can be made: the process that makes it was killed"):
        networks._new_namespace(None)


def test_an_uplink_that_was_killed_is_replaced() -> None:
    """The next command has a network again, with all its rules."""

    def work() -> None:
        with build() as one:
            one.network.namespace(online=True)
            os.kill(_uplink(), signal.SIGKILL)
            while one.network._uplink and one.network._uplink.lives():
                time.sleep(0.01)
            assert [MIRROR_IPV4, REFUSED] == [one.fetch(MIRROR_IPV4), one.fetch(METADATA)]

    in_twin_host(work)


def _uplink() -> int:
    """The slirp4netns that this process has started."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    (uplink,) = (int(pid) for pid in children if Path(f"/proc/{pid}/comm").read_text() == "slirp4netns\n")
    return uplink


def test_it_ends_with_the_holder() -> None:
    """However that ends; it shares no descriptor with it, sees no file of the host, and can do nothing as root."""

    def hold() -> tuple[int, str, list[str], list[str]]:
        one = Build()
        one.network.namespace(online=True)
        pid = _uplink()
        capabilities = Path(f"/proc/{pid}/status").read_text().partition("CapEff:")[2].split()[0]
        mounts = [line.split()[4] for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines()]
        seen = sorted(path.name for name in ("etc", "run") for path in Path(f"/proc/{pid}/root/{name}").iterdir())
        return pid, capabilities, mounts, seen

    pid, capabilities, mounts, seen = in_other_process(hold)

    wait_until_gone(pid)
    assert 1 << 10 == int(capabilities, 16)  # CAP_NET_BIND_SERVICE
    assert (["/", "/etc", "/run"], ["resolv.conf"]) == (sorted(mounts), seen)


def test_it_says_why_there_is_no_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """In slirp4netns' own words, and nothing is left."""

    def work() -> None:
        monkeypatch.setattr("imaginator.sandbox.uplink.LARGEST_PACKET", 1 << 20)
        one = Build()
        with pytest.raises(OSError, match="slirp4netns does not start: .*MTU"):
            one.network.namespace(online=True)
        assert "" == Path(f"/proc/self/task/{os.getpid()}/children").read_text()

    in_other_process(work)


@pytest.mark.parametrize(
    ("program", "reason"),
    [("kill -9 $$", "killed by SIGKILL"), ("exit 3", "exit status 3"), ("exec sleep 60", "not within 0.2 s")],
)
def test_it_says_how_a_silent_one_ended(
    program: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed, ended, or not ready in time."""
    script = tmp_path / "slirp4netns"
    script.write_text(f"#!/bin/sh\n{program}\n")
    script.chmod(0o755)

    def work() -> None:
        monkeypatch.setattr("imaginator.sandbox.programs.find_program", lambda _: str(script))
        if program.startswith("exec"):
            monkeypatch.setattr("imaginator.sandbox.uplink.LONGEST_START", 0.2)
        namespace = os.open("/proc/self/ns/net", os.O_RDONLY)
        uplink = Uplink(namespace, host_loopback=False, ipv6=False)
        with pytest.raises(OSError, match=f"slirp4netns does not start: {reason}$"):
            uplink.wait()
        uplink.close()
        assert "" == Path(f"/proc/self/task/{os.getpid()}/children").read_text()

    in_other_process(work)


def test_what_the_host_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here; each lack is a sentence."""
    assert [] == missing()

    monkeypatch.setattr(networks, "FILTER", "no-such-filter")
    monkeypatch.setattr(networks, "TUNNEL", "/no/such/tunnel")
    assert [
        "program not found: no-such-filter",
        "/no/such/tunnel cannot be used (No such file or directory): the kernel module tun makes it",
    ] == missing()
