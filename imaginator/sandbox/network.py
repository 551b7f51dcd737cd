"""The networks of one build: one without anything but a loopback, and one with a way out. Standard library only.

Each is a network namespace, made when it is first asked for, which belongs to the build's user namespace: its root may
bind low ports and send pings, no more. The way out leads through slirp4netns (see `uplink`) and past rules that the
build cannot change (see `firewall`). Nothing leads in, so no build reaches another one.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

from imaginator.sandbox import firewall, programs
from imaginator.sandbox.kernel.interfaces import add_ipv6, bring_up
from imaginator.sandbox.kernel.namespaces import (
    CLONE_NEWNET,
    CLONE_NEWUSER,
    join,
    open_namespace,
    unshare,
    visited,
)
from imaginator.sandbox.kernel.privileges import become_root
from imaginator.sandbox.routes import own_ipv4, own_ipv6, reaches_ipv6
from imaginator.sandbox.uplink import INTERFACE, PROGRAM, Uplink

FILTER = "nft"
OPEN = (True, (), ())
"""Every destination but the closed ones; `model.destinations.Destinations.plain` makes others."""

TUNNEL = "/dev/net/tun"

_ADDRESS_IPV6 = "fd00::64"
_PREFIX_IPV6 = 64
_MADE = b"!"
_SETTINGS = "/proc/sys/net/ipv6/conf/default"

Destinations = tuple[bool, Sequence[tuple[str, int]], Sequence[int]]
OwnAddresses = tuple[list[str], list[str]]


class Network:
    """Both networks of a build, until `close`; its user namespace is an open file, None for the host's."""

    def __init__(self, user_namespace: int | None, destinations: Destinations = OPEN) -> None:
        self._user_namespace = user_namespace
        self._destinations = destinations
        self._offline: int | None = None
        self._online: int | None = None
        self._uplink: Uplink | None = None
        self._own: OwnAddresses = ([], [])

    def namespace(self, online: bool) -> int:
        """An open file of the network namespace, for setns(2), which stays this object's; raises `OSError`."""
        if online:
            return self._with_way_out()
        if self._offline is None:
            self._offline = _new_namespace(self._user_namespace)
        return self._offline

    def _with_way_out(self) -> int:
        if self._uplink is not None and not self._uplink.lives():
            self._leave()
        if self._online is None:
            try:
                self._online = _new_namespace(self._user_namespace)
                self._connect(self._online)
            except OSError:
                self._leave()
                raise
        else:
            self._close_new_addresses(self._online)
        return self._online

    def _connect(self, namespace: int) -> None:
        _, _, host_ports = self._destinations
        ipv6 = reaches_ipv6()
        if ipv6:
            with visited(namespace, "net", CLONE_NEWNET):
                _let_addresses_be_set()
        self._uplink = Uplink(namespace, bool(host_ports), ipv6)
        # The rules are set while it starts; no command runs yet.
        self._own = (own_ipv4(), own_ipv6())
        _filter(namespace, firewall.rules(*self._destinations) + firewall.own_addresses(*self._own, egress=False))
        self._uplink.wait()
        egress = firewall.egress_rules(INTERFACE, *self._destinations)
        _filter(namespace, egress + firewall.own_addresses(*self._own, egress=True))
        if ipv6:
            with visited(namespace, "net", CLONE_NEWNET):
                add_ipv6(INTERFACE, _ADDRESS_IPV6, _PREFIX_IPV6, firewall.HOST_IPV6)

    def _close_new_addresses(self, namespace: int) -> None:
        """Close what the host has become since the last command started."""
        own = (own_ipv4(), own_ipv6())
        if own != self._own:
            _filter(namespace, firewall.own_addresses(*own, egress=True))
            self._own = own

    def refused(self) -> list[str]:
        """The destinations that were refused since this was asked last, such as ``192.0.2.1 port 80 (tcp)``."""
        if self._online is None:
            return []
        import json  # takes long, and few builds come here

        found = firewall.refused(json.loads(_filter(self._online, firewall.QUESTION, "--json")))
        if found:
            _filter(self._online, firewall.FORGET)
        return found

    def close(self) -> None:
        """Give both up; each is gone when the last process in it is."""
        self._leave()
        if self._offline is not None:
            os.close(self._offline)
            self._offline = None

    def _leave(self) -> None:
        if self._uplink is not None:
            self._uplink.close()
            self._uplink = None
        if self._online is not None:
            os.close(self._online)
            self._online = None


def missing() -> list[str]:
    """What this host lacks for the way out, a sentence each."""
    lacking = [f"program not found: {name}" for name in (PROGRAM, FILTER) if programs.find_program(name) is None]
    try:
        os.close(os.open(TUNNEL, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        lacking.append(f"{TUNNEL} cannot be used ({error.strerror}): the kernel module tun makes it")
    if programs.find_program(FILTER):
        try:
            programs.run([FILTER, "list", "tables"], "")
        except OSError as error:
            lacking.append(f"the kernel cannot filter packets, which its module nf_tables does: {error.strerror}")
    return lacking


def _new_namespace(user_namespace: int | None) -> int:
    """An open file of a new network namespace whose loopback works.

    A process of its own makes it: nobody comes back from another user namespace.
    """
    told, tell = os.pipe()
    held, hold = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(hold)
        _make_and_hold(user_namespace, tell, held)
    os.close(tell)
    os.close(held)
    try:
        said = os.read(told, 1 << 16)
        if said == _MADE:
            return open_namespace(pid, "net")
        reason = said.decode(errors="replace") or "the process that makes it was killed"
        raise OSError(errno.EIO, f"no network namespace can be made: {reason}")
    finally:
        os.close(told)
        os.close(hold)
        os.waitpid(pid, 0)


def _make_and_hold(user_namespace: int | None, tell: int, held: int) -> None:
    """In a process of its own: tell when the namespace is there, or why not, and stay in it until nobody waits."""
    try:
        if user_namespace is not None:
            join(user_namespace, CLONE_NEWUSER)
            become_root()
        unshare(CLONE_NEWNET)
        bring_up("lo")
        os.write(tell, _MADE)
        os.read(held, 1)
    except OSError as error:
        os.write(tell, f"{error.filename or ''}: {error.strerror}".encode())
    finally:
        os._exit(0)


def _let_addresses_be_set() -> None:
    """Let an address of IPv6 be there at once, and no router name another: waiting for either takes two seconds."""
    for setting in ("accept_dad", "accept_ra"):
        with open(f"{_SETTINGS}/{setting}", "w") as file:
            file.write("0")


def _filter(namespace: int, commands: str, *options: str) -> str:
    """What nft says to commands, given in a network namespace; raises `OSError`."""
    with visited(namespace, "net", CLONE_NEWNET):
        return programs.run([FILTER, *options, "--file", "-"], commands)
