"""What clients of SRPC can do to the one port."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

import pytest

from imaginator.srpc import messages as said
from imaginator.srpc.encoding import Encoder
from imaginator.srpc.numbers import unsigned
from imaginator.srpc.server import TLS_GOB_PATH, TLS_JSON_PATH
from tests.abuse.normal import Idle, unharmed
from tests.abuse.rude import PATIENCE, Rude, offer, rest
from tests.support.live import Live

pytestmark = pytest.mark.integration

HESITANT = 300
"""Connections that stop somewhere on their way in."""

SPEAKERS = 8
"""Connections that say too much, one after the other."""

ENDLESS = 40 << 20
"""Bytes that a client would send."""


def way_in(path: bytes) -> bytes:
    """What a connection begins with."""
    return b"CONNECT %b HTTP/1.0\n\n" % path


def let_in(rude: Rude, path: bytes = TLS_GOB_PATH) -> ssl.SSLSocket:
    """A connection of the user behind the door."""
    plain = rude.plain()
    plain.sendall(way_in(path))
    assert plain.recv(100).startswith(b"HTTP/1.0 200 ")
    return rude.secured(plain)


def called(rude: Rude, path: bytes = TLS_GOB_PATH) -> ssl.SSLSocket:
    """One that has called a method."""
    one = let_in(rude, path)
    one.sendall(b"Imaginator.BuildImage\n")
    assert b"\n" == one.recv(1)
    return one


def test_many_who_hesitate(live: Live, idle: Idle) -> None:
    """Before the door, in it, before TLS, and behind it."""
    with unharmed(live, f"{HESITANT} who hesitate on their way to a call", idle), Rude(live) as rude:
        for _ in range(HESITANT // 3):
            rude.plain().sendall(b"C")
            rude.plain().sendall(way_in(TLS_GOB_PATH)[:-1])
            rude.plain().sendall(way_in(TLS_GOB_PATH))
        behind = [called(rude) for _ in range(20)]
        assert 20 == len(behind)


STREAMS = {
    "a line without end": (TLS_GOB_PATH, lambda: iter(lambda: b"x" * 65536, b"")),
    "a length of 2^63": (TLS_GOB_PATH, lambda: iter([unsigned(1 << 63)])),
    "a message that is too long": (TLS_GOB_PATH, lambda: blocks(unsigned(ENDLESS))),
    "definitions without end": (TLS_GOB_PATH, lambda: blocks(b"", Encoder().encode(said.AddObjectResponse())[:-3])),
    "a line of JSON without end": (TLS_JSON_PATH, lambda: blocks(b'{"StreamName": "', b"x" * 65536)),
    "JSON within JSON": (TLS_JSON_PATH, lambda: iter([b"[" * 100_000 + b"\n"])),
}


def blocks(first: bytes, more: bytes = b"\0" * 65536) -> Iterator[bytes]:
    """What goes on for long."""
    yield first
    for _ in range(ENDLESS // len(more)):
        yield more


@pytest.mark.parametrize("what", STREAMS)
def test_those_who_say_too_much(live: Live, idle: Idle, what: str) -> None:
    """They are cut off soon."""
    path, stream = STREAMS[what]
    with unharmed(live, f"{what}, {SPEAKERS} times", idle), Rude(live) as rude:
        for _ in range(SPEAKERS):
            one = let_in(rude) if "line without" in what and path == TLS_GOB_PATH else called(rude, path)
            for data in stream():
                offer(one, data)
                if is_over(one):
                    break
            rest(one)


def is_over(one: socket.socket) -> bool:
    """Whether a connection has come to its end."""
    one.settimeout(0.001)
    try:
        return one.recv(1) == b""
    except (TimeoutError, ssl.SSLWantReadError):
        return False
    except OSError:
        return True
    finally:
        one.settimeout(PATIENCE)
