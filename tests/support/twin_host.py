"""A harmless twin of a host and of the networks around it, in namespaces that end with the test.

The twin has a loopback with services, an address of its own of each version, and a way to an "elsewhere": another
namespace with a mirror, and with what clouds have at 169.254.169.254. The services answer with the name of their
address. What runs there is a process forked from the test's.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401 - the root of a build cannot read Python's own files, when a name needs it
import marshal
import os
import select
import socket
import subprocess
import tempfile
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn

from imaginator.sandbox.kernel.interfaces import bring_up
from imaginator.sandbox.kernel.mounts import MS_BIND, MS_PRIVATE, MS_REC, mount
from imaginator.sandbox.kernel.namespaces import CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWUSER, join, unshare
from imaginator.sandbox.kernel.privileges import CUSTOMARY, become_root, die_with_parent, keep_only
from imaginator.sandbox.owners import UserNamespace

OWN_IPV4, OWN_IPV6 = "198.51.100.1", "2001:db8::1"
ROUTER_IPV4, ROUTER_IPV6 = "198.51.100.2", "2001:db8::2"
MIRROR_IPV4, MIRROR_IPV6 = "203.0.113.5", "2001:db8:1::5"
METADATA = "169.254.169.254"
PORT, OTHER_PORT = 80, 8080

_NOW = " nodad"
"""Addresses of IPv6 are of use a moment later otherwise (ip-address(8))."""

_TIMEOUT = 10.0
_RESOLVER = b"/etc/resolv.conf"


def in_twin_host(work: Callable[[], None]) -> None:
    """Do some work, which may assert, in a twin host of its own."""

    def prepared() -> None:
        with tempfile.NamedTemporaryFile() as resolver:
            resolver.write(b"nameserver 127.0.0.1\n")
            resolver.flush()
            unshare(CLONE_NEWNET | CLONE_NEWNS)
            mount(b"none", b"/", b"", MS_PRIVATE | MS_REC)
            mount(os.fsencode(resolver.name), _RESOLVER, b"", MS_BIND)
        _start_network()
        elsewhere = _forked(_be_elsewhere)
        _connect(elsewhere)
        _forked(_serve_here)
        work()

    in_other_process(prepared)


def in_other_process(work: Callable[[], Any]) -> Any:
    """What some work returns in a forked process, in values that marshal knows; its failures are raised here."""
    source, sink = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        os.close(source)
        die_with_parent(parent)
        _tell(sink, work)
    os.close(sink)
    with open(source, "rb") as file:
        data = file.read()
    os.waitpid(pid, 0)
    failure, result = marshal.loads(data) if data else ("it was killed", None)
    assert not failure, failure
    return result


def _tell(sink: int, work: Callable[[], Any]) -> NoReturn:
    try:
        outcome: tuple[str, Any] = ("", work())
    except BaseException:
        outcome = (traceback.format_exc(), None)
    os.write(sink, marshal.dumps(outcome))
    os._exit(0)


def as_build(user: UserNamespace, namespace: int, work: Callable[[], Any]) -> Any:
    """What some work returns that is done by the root of a build in a network of its own."""

    def confined() -> Any:
        join(user.descriptor, CLONE_NEWUSER)
        become_root()
        join(namespace, CLONE_NEWNET)
        keep_only(CUSTOMARY.values())
        return work()

    return in_other_process(confined)


def fetch(address: str, port: int = PORT) -> str:
    """What a service says, or the name of the error that came instead."""
    try:
        with socket.create_connection((address, port), timeout=_TIMEOUT) as connection:
            return connection.recv(100).decode()
    except OSError as error:
        return type(error).__name__


def ask(address: str, port: int = 53) -> str:
    """The same over UDP."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as asking:
        asking.settimeout(_TIMEOUT)
        try:
            asking.connect((address, port))
            asking.send(b"?")
            return asking.recv(100).decode()
        except OSError as error:
            return type(error).__name__


def _forked(work: Callable[[Callable[[], None]], None]) -> int:
    """A process that does some work until this one ends; returns when it has called what it is given."""
    source, sink = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            die_with_parent(parent)
            work(lambda: os.close(sink))
        finally:
            traceback.print_exc()
            os._exit(1)
    os.close(sink)
    os.read(source, 1)
    os.close(source)
    return pid


def _start_network() -> None:
    """Let the loopback work, and addresses be there at once: checking them for duplicates takes a second."""
    bring_up("lo")
    Path("/proc/sys/net/ipv6/conf/default/accept_dad").write_text("0")


def _connect(elsewhere: int) -> None:
    """Lay a cable to elsewhere, and let everything that is not here be there."""
    _ip(f"link add up0 type veth peer name up0 netns {elsewhere}")
    there = ("nsenter", "--net", "--target", str(elsewhere))
    _attach((), OWN_IPV4, OWN_IPV6)
    _attach(there, ROUTER_IPV4, ROUTER_IPV6)
    _ip(f"route add default via {ROUTER_IPV4}")
    _ip(f"-6 route add default via {ROUTER_IPV6}")


def _attach(prefix: tuple[str, ...], ipv4: str, ipv6: str) -> None:
    _ip("link set up0 up", prefix)
    _ip(f"address add {ipv4}/24 dev up0", prefix)
    _ip(f"address add {ipv6}/64 dev up0{_NOW}", prefix)


def _ip(words: str, prefix: tuple[str, ...] = ()) -> None:
    subprocess.run([*prefix, "ip", *words.split()], check=True)


def _be_elsewhere(ready: Callable[[], None]) -> None:
    unshare(CLONE_NEWNET)
    _start_network()
    for address in (MIRROR_IPV4, METADATA, MIRROR_IPV6):
        _ip(f"address add {address} dev lo{_NOW if ':' in address else ''}")
    mirrors = [(address, port) for address in (MIRROR_IPV4, MIRROR_IPV6) for port in (PORT, OTHER_PORT)]
    _serve([*mirrors, (METADATA, PORT)], [], ready)


def _serve_here(ready: Callable[[], None]) -> None:
    addresses = ("127.0.0.1", "::1", OWN_IPV4, OWN_IPV6)
    _serve([(address, port) for address in addresses for port in (PORT, OTHER_PORT)], [("127.0.0.1", 53)], ready)


def _serve(streams: Iterable[tuple[str, int]], datagrams: Iterable[tuple[str, int]], ready: Callable[[], None]) -> None:
    """Answer with the name of the address that was asked."""
    sockets = [*(_listening(*place) for place in streams), *(_bound(*place) for place in datagrams)]
    ready()
    while True:
        for one in select.select(sockets, [], [])[0]:
            name = str(one.getsockname()[0]).encode()
            if one.type == socket.SOCK_DGRAM:
                one.sendto(name, one.recvfrom(100)[1])
            else:
                connection, _ = one.accept()
                with connection:
                    connection.sendall(name)


def _listening(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.create_server((address, port), family=family)


def _bound(address: str, port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    bound.bind((address, port))
    return bound
