"""What a build's packets may reach, in the words of nft(8), and what they were refused. Standard library only.

The rules are in the build's own network namespace, set from outside by the host's root; the build's has no capability
to change them. They stand twice: at the hook ``output``, which every packet of an ordinary or raw socket passes and
where a program can be told that it was refused, and at the hook ``egress`` of the only way out, which a frame passes
that was written by a packet socket. The filter of system calls refuses those, but cannot look into the memory where a
32-bit program's socketcall(2) has its arguments.

Closed, whatever is listed: the host itself, link-local addresses with the metadata services of clouds, and all that is
no single machine elsewhere. slirp4netns sends what goes to its own network to the host's loopback, so that network is
closed as well, but for its name server.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

TYPE_CHECKING = False  # importing typing would take as long as starting Python does
if TYPE_CHECKING:
    from typing import Any

NETWORK_IPV4 = "10.0.2.0/24"
HOST_IPV4 = "10.0.2.2"
NAME_SERVER_IPV4 = "10.0.2.3"
NETWORK_IPV6 = "fd00::/64"
HOST_IPV6 = "fd00::2"
NAME_SERVER_IPV6 = "fd00::3"
"""slirp4netns' own network, and in it the host and its name servers as builds see them."""

CLOSED_IPV4 = (
    "0.0.0.0/8",  # this host (RFC 1122)
    "127.0.0.0/8",  # loopback
    "169.254.0.0/16",  # link-local: metadata of most clouds
    "192.0.0.0/24",  # protocols' own (RFC 6890): metadata of Oracle's cloud
    "100.100.100.200/32",  # metadata of Alibaba's cloud
    "168.63.129.16/32",  # metadata of Azure
    "224.0.0.0/3",  # multicast, reserved, broadcast
    NETWORK_IPV4,
)
CLOSED_IPV6 = (
    "::/96",  # unspecified, loopback, addresses of IPv4 in disguise
    "::ffff:0:0/96",
    "64:ff9b::7f00:0/104",  # the closed ones of IPv4 through a translator (RFC 6052)
    "64:ff9b::a9fe:0/112",
    "fe80::/10",  # link-local
    "fec0::/10",
    "ff00::/8",  # multicast
    "fd00:ec2::/32",  # metadata of Amazon's cloud
    "fd20:ce::/32",  # metadata of Google's
    NETWORK_IPV6,
)
REMEMBERED = 64
"""Refused destinations that are remembered, of each version."""

_TABLE = "inet imaginator"
_EGRESS = "netdev imaginator"
_SETS = ("refused_ipv4", "refused_ipv6")

QUESTION = f"list table {_TABLE}"
"""What makes nft tell, as JSON, what `refused` reads."""

FORGET = "\n".join(f"flush set {_TABLE} {name}" for name in _SETS)
"""What makes it forget which destinations were refused."""

_DESTINATIONS = """
  set own_ipv4 {{ type ipv4_addr; flags interval; auto-merge; }}
  set own_ipv6 {{ type ipv6_addr; flags interval; auto-merge; }}
  set closed_ipv4 {{ type ipv4_addr; flags interval; auto-merge; elements = {{ {closed_ipv4} }} }}
  set closed_ipv6 {{ type ipv6_addr; flags interval; auto-merge; elements = {{ {closed_ipv6} }} }}
"""

_VERDICTS = """
    ip daddr {dns_ipv4} meta l4proto {{ tcp, udp }} th dport 53 accept
    ip6 daddr {dns_ipv6} meta l4proto {{ tcp, udp }} th dport 53 accept
    {opened}
    ip daddr @own_ipv4 {refuse}
    ip6 daddr @own_ipv6 {refuse}
    ip daddr @closed_ipv4 {refuse}
    ip6 daddr @closed_ipv6 {refuse}
    {allowed}
    {refuse}
"""

_OUTPUT_RULES = """
table {table} {{
{destinations}
  set refused_ipv4 {{ type ipv4_addr . inet_proto . inet_service; flags dynamic; size {size}; }}
  set refused_ipv6 {{ type ipv6_addr . inet_proto . inet_service; flags dynamic; size {size}; }}
  chain refuse {{
    meta nfproto ipv4 meta l4proto {{ tcp, udp }} add @refused_ipv4 {{ ip daddr . meta l4proto . th dport }}
    meta nfproto ipv6 meta l4proto {{ tcp, udp }} add @refused_ipv6 {{ ip6 daddr . meta l4proto . th dport }}
    meta l4proto tcp reject with tcp reset
    reject with icmpx admin-prohibited
  }}
  chain output {{
    type filter hook output priority 0; policy drop;
    oifname "lo" accept
    icmpv6 type {{ nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert }} accept
    icmpv6 type mld2-listener-report drop
    {verdicts}
  }}
}}
"""

# What a frame says of itself and what its sender told the kernel that it is can differ; slirp4netns believes the frame.
_EGRESS_RULES = """
table {table} {{
{destinations}
  chain packets {{
    icmpv6 type {{ nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert }} accept
    {verdicts}
    drop
  }}
  chain egress {{
    type filter hook egress device "{device}" priority 0; policy drop;
    ether type arp meta protocol arp accept
    ether type ip meta protocol ip goto packets
    ether type ip6 meta protocol ip6 goto packets
  }}
}}
"""


def rules(anywhere: bool, listed: Sequence[tuple[str, int]], host_ports: Sequence[int]) -> str:
    """The table of a build; see `model.destinations` for what the arguments say."""
    verdicts = _verdicts("goto refuse", anywhere, listed, host_ports)
    return _OUTPUT_RULES.format(table=_TABLE, size=REMEMBERED, destinations=_destinations(), verdicts=verdicts)


def egress_rules(device: str, anywhere: bool, listed: Sequence[tuple[str, int]], host_ports: Sequence[int]) -> str:
    """The same for whatever leaves by an interface, which must be there."""
    verdicts = _verdicts("drop", anywhere, listed, host_ports)
    return _EGRESS_RULES.format(table=_EGRESS, device=device, destinations=_destinations(), verdicts=verdicts)


def _destinations() -> str:
    return _DESTINATIONS.format(closed_ipv4=", ".join(CLOSED_IPV4), closed_ipv6=", ".join(CLOSED_IPV6))


def _verdicts(refuse: str, anywhere: bool, listed: Iterable[tuple[str, int]], host_ports: Iterable[int]) -> str:
    allowed = ["accept"] if anywhere else [_allowed(network, port) for network, port in listed]
    return _VERDICTS.format(
        refuse=refuse,
        dns_ipv4=NAME_SERVER_IPV4,
        dns_ipv6=NAME_SERVER_IPV6,
        opened="\n    ".join(_opened(port) for port in host_ports),
        allowed="\n    ".join(allowed),
    )


def _opened(port: int) -> str:
    return f"ip daddr {HOST_IPV4} tcp dport {port} accept"


def _allowed(network: str, port: int) -> str:
    destination = f"{'ip6' if ':' in network else 'ip'} daddr {network}"
    return f"{destination} meta l4proto {{ tcp, udp }} th dport {port} accept" if port else f"{destination} accept"


def own_addresses(ipv4: Sequence[str], ipv6: Sequence[str], egress: bool) -> str:
    """What closes the host's own networks, in place of those that were closed before as such.

    ``egress`` says that `egress_rules` are there too.
    """
    tables = (_TABLE, _EGRESS) if egress else (_TABLE,)
    commands = ((*_replaced(table, "own_ipv4", ipv4), *_replaced(table, "own_ipv6", ipv6)) for table in tables)
    return "\n".join(command for part in commands for command in part)


def _replaced(table: str, name: str, elements: Sequence[str]) -> Iterator[str]:
    yield f"flush set {table} {name}"
    if elements:
        yield f"add element {table} {name} {{ {', '.join(elements)} }}"


def refused(answer: Any) -> list[str]:
    """The destinations in the decoded answer to `QUESTION`: such as ``192.0.2.1 port 80 (tcp)``."""
    sets = [part["set"] for part in answer["nftables"] if part.get("set", {}).get("name") in _SETS]
    return sorted("{} port {} ({})".format(*_reordered(element)) for one in sets for element in one.get("elem", ()))


def _reordered(element: Any) -> tuple[str, int, str]:
    address, protocol, port = element["concat"]
    return address, port, protocol
