"""The list of what builds reach."""

from __future__ import annotations

import pytest

from imaginator.model.destinations import EVERYWHERE, Destination, Destinations, parse_destinations


@pytest.mark.parametrize("text", ["any", "", " , "])
def test_everything(text: str) -> None:
    """Is what an empty list means, too."""
    assert EVERYWHERE == parse_destinations(text)


@pytest.mark.parametrize(
    ("entry", "network", "port"),
    [
        ("192.0.2.7", "192.0.2.7/32", 0),
        ("192.0.2.7:443", "192.0.2.7/32", 443),
        ("192.0.2.0/24", "192.0.2.0/24", 0),
        ("192.0.2.9/24:80", "192.0.2.0/24", 80),
        ("2001:db8::1", "2001:db8::1/128", 0),
        ("2001:db8::/32", "2001:db8::/32", 0),
        ("[2001:db8::1]:443", "2001:db8::1/128", 443),
        ("[2001:db8::]/32:443", "2001:db8::/32", 443),
        ("[2001:db8::/32]:443", "2001:db8::/32", 443),
    ],
)
def test_one_destination(entry: str, network: str, port: int) -> None:
    """An address or a network, of either version, with or without a port."""
    assert Destinations(False, (Destination(network, port),)) == parse_destinations(entry)


def test_ports_of_the_host() -> None:
    """Alone, they are all that is open; with any, they are open as well."""
    alone, too = parse_destinations("host:3142, host:80"), parse_destinations("any,host:3142")

    assert (False, [], [3142, 80]) == alone.plain()
    assert (True, [], [3142]) == too.plain()


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ("mirror.test", "'mirror.test' is no destination: expected any, host:PORT, or an address"),
        ("mirror.test:80", "'mirror.test:80' is no destination"),
        ("192.0.2.0/33", "'192.0.2.0/33' is no destination"),
        ("192.0.2.1:0", "'192.0.2.1:0' has no port: expected 1 to 65535"),
        ("192.0.2.1:http", "has no port"),
        ("192.0.2.1:", "has no port"),
        ("host:", "'host:' has no port"),
        ("host", "'host' is no destination"),
        ("[2001:db8::1", "has no closing bracket"),
        ("fe80::1%eth0", "is no destination"),
        ("[192.0.2.1]x", "is no destination"),
    ],
)
def test_senseless_entries(entry: str, sentence: str) -> None:
    """Each is named, with what was expected."""
    with pytest.raises(ValueError, match="^" + sentence if sentence.startswith("'") else sentence) as raised:
        parse_destinations(f"192.0.2.1,{entry}")

    assert repr(entry) in str(raised.value)
