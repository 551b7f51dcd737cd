"""Where builds may send packets: the daemon's flag ``--build-destinations``."""

from __future__ import annotations

import ipaddress
from typing import NamedTuple

ANY = "any"
HOST = "host"
EXPECTED = "expected any, host:PORT, or an address with an optional /PREFIX and :PORT, such as 192.0.2.0/24:443"


class Destination(NamedTuple):
    """A network such as ``192.0.2.0/24`` or ``2001:db8::/32``, and the port there; 0 for all ports and protocols."""

    network: str
    port: int = 0


class Destinations(NamedTuple):
    """What is open to builds, beside name servers; never, whatever is listed, what closes a build off its host.

    ``anywhere``: everything; else what is ``listed``. ``host_ports`` are TCP ports of the build host's loopback.
    """

    anywhere: bool = True
    listed: tuple[Destination, ...] = ()
    host_ports: tuple[int, ...] = ()

    def plain(self) -> tuple[bool, list[tuple[str, int]], list[int]]:
        """The same in values that marshal knows."""
        return self.anywhere, [(network, port) for network, port in self.listed], list(self.host_ports)


EVERYWHERE = Destinations()


def parse_destinations(text: str) -> Destinations:
    """The destinations of a comma-separated list; an empty one is ``any``.

    Raises ValueError naming the entry that makes no sense. Names are refused: what they mean is not the operator's to
    say, and changes while a build runs.
    """
    entries = [entry.strip() for entry in text.split(",") if entry.strip()] or [ANY]
    names = [entry for entry in entries if entry != ANY]
    ports = [entry.removeprefix(f"{HOST}:") for entry in names if entry.startswith(f"{HOST}:")]
    return Destinations(
        anywhere=ANY in entries,
        listed=tuple(_destination(entry) for entry in names if not entry.startswith(f"{HOST}:")),
        host_ports=tuple(_port(port, f"{HOST}:{port}") for port in ports),
    )


def _destination(entry: str) -> Destination:
    network, port = _split(entry)
    try:
        parsed = ipaddress.ip_network(network, strict=False)
    except ValueError:
        parsed = None
    if parsed is None or "%" in network:
        raise ValueError(f"{entry!r} is no destination: {EXPECTED}")
    return Destination(str(parsed), _port(port, entry) if port is not None else 0)


def _split(entry: str) -> tuple[str, str | None]:
    """Network and port; an address of IPv6 is in brackets where a port follows it."""
    if entry.startswith("["):
        address, bracket, rest = entry[1:].partition("]")
        if not bracket:
            raise ValueError(f"{entry!r} has no closing bracket: {EXPECTED}")
        prefix, colon, port = rest.partition(":")
        return address + prefix, port if colon else None
    if entry.count(":") == 1:
        network, _, port = entry.partition(":")
        return network, port
    return entry, None


def _port(text: str, entry: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 65536:
        raise ValueError(f"{entry!r} has no port: expected 1 to 65535")
    return int(text)
