"""Sockets and shared memory: the host's services, its interfaces, and what passes between processes without files."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct

from tests.escape.inside.probing import (
    PLAIN,
    Finding,
    Reached,
    Surface,
    World,
    check,
    first_that_works,
    fresh,
    libc,
    marked,
    no,
    others,
    probe,
)

SOCK_PACKET = 10
SECONDS = 2.0
"""For a connection: an address that nobody answers at takes as long."""


def _ask(family: int, address: str | tuple[str, int], what: str) -> Finding:
    with socket.socket(family, socket.SOCK_STREAM) as client:
        client.settimeout(SECONDS)
        try:
            client.connect(address)
        except TimeoutError as error:
            raise no(errno.ETIMEDOUT, what) from error
        except OSError as error:
            raise no(error.errno or errno.EIO, what) from error
        return marked(client.recv(64), what)


def _on_own_network(world: World) -> bool:
    return os.stat("/proc/self/ns/net").st_ino != world.namespaces["net"]


@probe("abstract and path sockets")
def abstract_socket(world: World) -> Finding:
    """Connect to an abstract socket of the host."""
    return _ask(socket.AF_UNIX, f"\0{world.abstract}", "an abstract socket")


@probe("abstract and path sockets")
def abstract_socket_listed(world: World) -> Finding:
    """Find the host's sockets in /proc/net/unix."""
    with open("/proc/net/unix") as sockets:
        if world.abstract in sockets.read():
            return Reached("/proc/net/unix lists the host's sockets")
    raise no(errno.ENOENT, "/proc/net/unix")


@probe("abstract and path sockets")
def path_socket(world: World) -> Finding:
    """Connect to a socket of the host by its path, through the root of another process."""
    path = os.path.join(os.path.dirname(world.secret), "socket")

    def connect(root: str) -> Finding:
        if not os.path.exists(root + path):
            raise no(errno.ENOENT, root + path)
        return _ask(socket.AF_UNIX, root + path, path)

    return first_that_works(["", *(f"/proc/{process}/root" for process in others())], connect)


@probe("abstract and path sockets")
def socket_of_bind(world: World) -> Finding:
    """Connect to a socket in a directory of the host that is bound read-only."""
    _ask(socket.AF_UNIX, "/host-share/socket", "/host-share/socket")
    return Surface("a socket in a bound directory answers")


@probe("loopback")
def loopback(world: World) -> Finding:
    """Connect to a service on the host's loopback."""
    return _ask(socket.AF_INET, ("127.0.0.1", world.port), "127.0.0.1")


@probe("loopback")
def loopback_elsewhere(world: World) -> Finding:
    """Connect to a service on the host's loopback by another address of it."""
    return first_that_works(
        ("127.9.9.9", "0.0.0.0"), lambda address: _ask(socket.AF_INET, (address, world.port), address)
    )


@probe("loopback")
def loopback_6(world: World) -> Finding:
    """Connect to a service on the host's loopback by IPv6."""
    return _ask(socket.AF_INET6, ("::1", world.port), "::1")


@probe("loopback")
def loopback_by_mapped_address(world: World) -> Finding:
    """Connect to a service on the host's loopback by an IPv4 address within IPv6."""
    return _ask(socket.AF_INET6, ("::ffff:127.0.0.1", world.port), "::ffff:127.0.0.1")


@probe("loopback")
def loopback_by_gateway(world: World) -> Finding:
    """Connect to a service on the host's loopback by the gateway of a user-mode network."""
    return _ask(socket.AF_INET, (world.hosts["gateway"], world.port), world.hosts["gateway"])


@probe("loopback")
def loopback_datagram(world: World) -> Finding:
    """Send to a service on the host's loopback by UDP."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(SECONDS)
        client.sendto(b"?", ("127.0.0.1", world.port))
        return marked(_received(client), "127.0.0.1 by UDP")


def _received(client: socket.socket) -> bytes:
    try:
        return client.recv(64)
    except TimeoutError as error:
        raise no(errno.ETIMEDOUT, "recv") from error


@probe("loopback")
def own_address_of_the_host(world: World) -> Finding:
    """Connect to a service of the host at the host's own address."""
    return _ask(socket.AF_INET, (world.hosts["own"], world.port), world.hosts["own"])


@probe("metadata address")
def metadata(world: World) -> Finding:
    """Ask the cloud's metadata service for the host's credentials."""
    return _ask(socket.AF_INET, (world.hosts["metadata"], world.port), world.hosts["metadata"])


@probe("metadata address")
def link_local_neighbour(world: World) -> Finding:
    """Connect to another link-local address."""
    return _ask(socket.AF_INET, (world.hosts["link-local"], world.port), world.hosts["link-local"])


@probe("raw sockets")
def interfaces(world: World) -> Finding:
    """See the host's network interfaces."""
    if world.interface in (name for _, name in socket.if_nameindex()):
        return Reached(f"the host's {world.interface}")
    raise no(errno.ENOENT, "if_nameindex")


@probe("raw sockets")
def packets(world: World) -> Finding:
    """Read and write the packets of an interface (AF_PACKET)."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.ntohs(3)):
        if _on_own_network(world):
            return Surface("packets of a network of its own")
        return Reached("packets of the host")


@probe("raw sockets")
def packets_of_old(world: World) -> Finding:
    """Read and write the packets of an interface by a socket of the internet's family (SOCK_PACKET)."""
    with socket.socket(socket.AF_INET, SOCK_PACKET, socket.ntohs(3)):
        if _on_own_network(world):
            return Surface("packets of a network of its own")
        return Reached("packets of the host")


@probe("raw sockets")
def raw_internet(world: World) -> Finding:
    """Make up packets of any protocol (SOCK_RAW)."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP):
        if _on_own_network(world):
            return Surface("packets of any protocol, on a network of its own")
        return Reached("packets of any protocol, on the host's network")


@probe("raw sockets")
def interface_changed(world: World) -> Finding:
    """Change an interface of the host (rtnetlink(7))."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as link:
        index = socket.if_nametoindex(world.interface if not _on_own_network(world) else "lo")
        # nlmsghdr RTM_NEWLINK, request and acknowledge; ifinfomsg: up
        body = struct.pack("=BxHiII", 0, 0, index, 1, 1)
        link.send(struct.pack("=IHHII", 16 + len(body), 16, 5, 1, 0) + body)
        answer = struct.unpack_from("=i", link.recv(4096), 16)[0]
    if answer < 0:
        raise no(-answer, "rtnetlink")
    if _on_own_network(world):
        return Surface("an interface of its own network changed")
    return Reached(f"{world.interface} changed")


@probe("raw sockets")
def packet_filter(world: World) -> Finding:
    """Reach for the host's packet filter (NETLINK_NETFILTER), a frequent way into the kernel."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as link:
        # nfnetlink of nftables: NFT_MSG_GETGEN
        link.send(struct.pack("=IHHIIBBH", 20, (10 << 8) | 16, 5, 1, 0, 0, 0, 0))
        answer = struct.unpack_from("=i", link.recv(4096), 16)[0]
    if answer == -errno.EPERM:
        raise no(errno.EPERM, "nftables")
    return Surface("nftables answers")


@probe("raw sockets")
def machine_sockets(world: World) -> Finding:
    """Talk to the hypervisor (AF_VSOCK)."""
    with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM):
        return Surface("a socket to the hypervisor")


@probe("raw sockets", machine=True)
def crypto_sockets(world: World) -> Finding:
    """Use the kernel's ciphers (AF_ALG), a frequent way into it."""
    with socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET) as cipher:
        cipher.bind(("hash", "sha256"))
        return Surface("a hash of the kernel's")


@probe("accounting", PLAIN, machine=True)
def audit(world: World) -> Finding:
    """Reach for the host's audit log (NETLINK_AUDIT)."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 9) as link:
        link.send(struct.pack("=IHHII", 16, 1000, 5, 1, 0))
        length, kind = struct.unpack_from("=IH", (answer := link.recv(4096)))
    if kind == 2 and (number := struct.unpack_from("=i", answer, 16)[0]) < 0:
        raise no(-number, "audit")
    return Reached(f"the audit log's status, {length} bytes")


@probe("/sys")
def device_events_heard(world: World) -> Finding:
    """Make up an event of a device for the host's device manager (NETLINK_KOBJECT_UEVENT)."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 15) as link:
        link.bind((0, 2))
        if _on_own_network(world):
            return Surface("the events of a network of its own")
        return Reached("in the group that the host's device manager listens to")


@probe("shared memory")
def shared_segment(world: World) -> Finding:
    """Attach a System V shared memory segment of the host."""
    segment = check(libc.shmget(world.segment, ctypes.c_size_t(64), 0), "shmget")
    libc.shmat.restype = ctypes.c_void_p
    place = libc.shmat(segment, None, 0o10000)
    if place in (None, ctypes.c_void_p(-1).value):
        raise no(ctypes.get_errno(), "shmat")
    return marked(ctypes.string_at(place, 64), "a shared segment")


@probe("shared memory")
def message_queue(world: World) -> Finding:
    """Open a POSIX message queue of the host."""
    queue = check(libc.mq_open(world.queue.encode(), os.O_RDONLY | os.O_NONBLOCK), "mq_open")
    os.close(queue)
    return Reached(f"the queue {world.queue}")


@probe("shared memory")
def queues_mounted(world: World) -> Finding:
    """Mount the file system of the host's message queues."""
    place = fresh("queues")
    check(libc.mount(b"mqueue", place.encode(), b"mqueue", ctypes.c_ulong(0), None), "mount mqueue")
    if world.queue.strip("/") in os.listdir(place):
        return Reached("the host's queues mounted")
    return Surface("queues of its own mounted")
