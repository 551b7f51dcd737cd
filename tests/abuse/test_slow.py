"""Clients that take their time: each is sent away when its time is over, however busily it says little."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.abuse.normal import Idle, unharmed
from tests.abuse.rude import Rude, outlived
from tests.support.live import Live
from tests.support.printed import FIGURES

pytestmark = pytest.mark.integration

IDLE = 1000
"""Connections of each kind that say nothing; two thousand in all."""

TRICKLES = 20
"""Connections of each kind that say a byte a second."""

QUESTION = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"


class Trickle:
    """A connection on which the next byte comes in a second."""

    def __init__(self, one: socket.socket, text: bytes) -> None:
        self.one = one
        self._left = iter(text)

    def go_on(self) -> None:
        """Say the next byte, if anybody still hears it."""
        with suppress(OSError):
            self.one.send(bytes([next(self._left)]))


def trickles(rude: Rude) -> Iterator[Trickle]:
    """Headers, a body over TLS, and a handshake."""
    hello = client_hello()
    for _ in range(TRICKLES):
        yield Trickle(rude.plain(), QUESTION + b"X-Long: " + b"x" * 1000)
        body = rude.tls()
        body.send(b"POST /jsonrpc HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n")
        yield Trickle(body, b" " * 1000)
        yield Trickle(rude.plain(), hello)


def client_hello() -> bytes:
    """What a TLS client says first."""
    outgoing = ssl.MemoryBIO()
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def test_everybody_is_sent_away(live: Live, idle: Idle) -> None:
    """Two thousand idle connections, and trickling headers, bodies and handshakes: none stays, nobody else notices."""
    with (
        unharmed(live, "2000 idle connections, 60 trickling ones", idle),
        Rude(live) as rude,
        Rude(live, "127.0.0.3") as few,
    ):
        slow = list(trickles(few))
        silent = [connect() for connect in (rude.plain, rude.tls) for _ in range(IDLE)]

        def go_on() -> None:
            for one in slow:
                one.go_on()

        seconds = outlived([*silent, *(one.one for one in slow)], go_on)
    FIGURES.append(f"the last was sent away after {seconds:.0f} s")
