"""Handshakes that are refused, each for its reason, by a listener on the loopback."""

from __future__ import annotations

import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_twisted
from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock, deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from zope.interface import implementer

from imaginator.rpc.certificates import Issued, Wish, issue, make_authority, make_certificate, revoke
from imaginator.service.credentials import Files
from imaginator.service.listener import Listener, secured
from imaginator.service.refusals import MOST, MOST_OF_ONE, WINDOW, WORDS, Reason, Refusals
from tests.service.test_tls import new_listener, port_of

NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)
Client = Callable[[int], None]


class Bench:
    """Files of a listener, and clients whom it refuses."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority, self.other = make_authority("test authority"), make_authority("other authority")
        self.files = Files(folder / "CA.pem", folder / "cert.pem", folder / "key.pem", folder / "crl.pem")
        self.eve = issue(self.authority, Wish("eve"))
        make_certificate(self.authority, "localhost", server=True).write(self.files.certificate, self.files.key)
        # Of the unlisted authority callers are known, but no list.
        self.unlisted = make_authority("unlisted authority")
        for one, path in ((self.authority, self.files.authority), (self.unlisted, folder / "unlisted.pem")):
            one.write(path, None)
        both = self.files.authority.read_bytes() + (folder / "unlisted.pem").read_bytes()
        self.files.authority.write_bytes(both)
        (folder / "crl.pem").write_bytes(revoke(self.authority, self.eve))

    def shows(self, issued: Issued, newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> Client:
        """A client with a certificate."""
        context = ssl.create_default_context(cafile=self.files.authority)
        issued.write(self.folder / "user.pem", self.folder / "user.key")
        context.load_cert_chain(self.folder / "user.pem", self.folder / "user.key")
        context.maximum_version = newest
        return lambda port: shake(port, context)

    def trusts_others(self) -> Client:
        """A client that expects a daemon of another authority."""
        self.other.write(self.folder / "other.pem", None)
        context = ssl.create_default_context(cafile=self.folder / "other.pem")
        return lambda port: shake(port, context)

    def old(self) -> Client:
        """A client that would have to be of TLS 1.1."""
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_max_proto_version(SSL.TLS1_1_VERSION)
        context.set_cipher_list(b"ALL:@SECLEVEL=0")
        return lambda port: shake_old(port, context)

    def poor(self) -> Client:
        """A client with a cipher that the daemon does not have."""
        context = ssl.create_default_context(cafile=self.files.authority)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers("AES256-SHA")
        return lambda port: shake(port, context)


def shake(port: int, context: ssl.SSLContext) -> None:
    """Shake hands, and read until the other side ends it."""
    with (
        suppress(OSError),
        socket.create_connection(("127.0.0.1", port), timeout=30) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as one,
    ):
        one.recv(1)


def shake_old(port: int, context: SSL.Context) -> None:
    """The same with OpenSSL's own library, which does not mind how old a version is."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as plain:
        plain.settimeout(None)
        one = SSL.Connection(context, plain)
        one.set_connect_state()
        with suppress(SSL.Error):
            one.do_handshake()


def talk_nonsense(port: int) -> None:
    """Begin as TLS does, and go on as nothing."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=30) as one:
        one.sendall(b"\x16\x03\x01" + b"\xff" * 100)
        while one.recv(100):
            pass


def go_away(port: int) -> None:
    """Begin a handshake, and think better of it."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as one:
        one.sendall(b"\x16\x03\x01")
        one.shutdown(socket.SHUT_WR)
        while one.recv(100):
            pass


@contextmanager
def logged() -> Iterator[list[str]]:
    """The lines of the log meanwhile."""
    lines: list[str] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        lines.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    try:
        yield lines
    finally:
        globalLogPublisher.removeObserver(observe)


@asynccontextmanager
async def listening(bench: Bench) -> AsyncIterator[tuple[Listener, list[str]]]:
    """A listener, and the reasons that it counts."""
    listener = new_listener()
    counted: list[str] = []
    listener.refusals.count = counted.append
    listener.secure(secured(bench.files))
    listener.startService()
    try:
        yield listener, counted
    finally:
        await listener.stopService()
        while listener._secure is not None and listener._secure.protocols:
            await deferLater(reactor, 0.01)
        listener.refusals.stop()


CLIENTS: dict[Reason, Callable[[Bench], Client]] = {
    Reason.EXPIRED: lambda bench: bench.shows(
        issue(bench.authority, Wish("a", not_before=NOW - 2 * HOUR, not_after=NOW - HOUR))
    ),
    Reason.NOT_YET_VALID: lambda bench: bench.shows(issue(bench.authority, Wish("a", not_before=NOW + HOUR))),
    Reason.FOREIGN: lambda bench: bench.shows(issue(bench.other, Wish("a"))),
    Reason.REVOKED: lambda bench: bench.shows(bench.eve),
    Reason.NO_LIST: lambda bench: bench.shows(issue(bench.unlisted, Wish("a"))),
    Reason.USAGE: lambda bench: bench.shows(issue(bench.authority, Wish("a", server=True))),
    Reason.VERSION: lambda bench: bench.old(),
    Reason.CIPHER: lambda bench: bench.poor(),
    Reason.CLIENT: lambda bench: bench.trusts_others(),
    Reason.NOT_TLS: lambda bench: talk_nonsense,
}


@pytest.mark.parametrize("reason", CLIENTS)
@pytest_twisted.ensureDeferred
async def test_each_reason(tmp_path: Path, reason: Reason) -> None:
    """It is told in a line with the peer's address, and counted."""
    bench = Bench(tmp_path)
    with logged() as lines:
        async with listening(bench) as (listener, counted):
            await deferToThread(CLIENTS[reason](bench), port_of(listener))
    (line,) = (line for line in lines if "TLS" in line)

    assert line.startswith(f"TLS handshake with 127.0.0.1 refused: {WORDS[reason]} (")
    assert [reason] == counted


@pytest_twisted.ensureDeferred
async def test_of_tls_1_2(tmp_path: Path) -> None:
    """There, too, what is wrong with the certificate is known."""
    bench = Bench(tmp_path)
    async with listening(bench) as (listener, counted):
        await deferToThread(bench.shows(bench.eve, ssl.TLSVersion.TLSv1_2), port_of(listener))

    assert [Reason.REVOKED] == counted


@pytest_twisted.ensureDeferred
async def test_who_is_not_refused(tmp_path: Path) -> None:
    """Neither who is let in nor who goes in the middle of a handshake is."""
    bench = Bench(tmp_path)
    context = ssl.create_default_context(cafile=bench.files.authority)
    bench.shows(issue(bench.authority, Wish("alice")))
    context.load_cert_chain(tmp_path / "user.pem", tmp_path / "user.key")

    def come_and_go(port: int) -> None:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=30) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as one,
        ):
            one.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert one.recv(1)

    with logged() as lines:
        async with listening(bench) as (listener, counted):
            for client in (come_and_go, go_away):
                await deferToThread(client, port_of(listener))

    assert [] == counted
    assert [] == [line for line in lines if "TLS" in line]


def test_a_flood() -> None:
    """A few lines a minute, fewer of one address; what was left out is told when the minute is over, and then anew."""
    clock, counted = Clock(), Counter[str]()
    refusals = Refusals(clock)
    refusals.count = lambda reason: counted.update([reason])
    peers = [IPv4Address("TCP", f"10.0.0.{number}", 1) for number in range(100)]
    with logged() as lines:
        for _ in range(50):
            refusals.tell(peers[0], Reason.EXPIRED, "x")
        of_one = len(lines)
        for peer in peers:
            refusals.tell(peer, Reason.NOT_TLS, "x")
        of_all = len(lines)
        clock.advance(WINDOW)
        summary = lines[-1]
        refusals.tell(peers[0], Reason.REVOKED, "x")
        clock.advance(WINDOW)

    assert (MOST_OF_ONE, MOST) == (of_one, of_all)
    assert f"{150 - MOST} more TLS handshakes refused: 85 not-tls, 45 expired" == summary
    assert MOST + 2 == len(lines)
    assert {"expired": 50, "not-tls": 100, "revoked": 1} == counted
    assert [] == clock.getDelayedCalls()


def test_the_end() -> None:
    """When the daemon stops, nothing waits for the end of the minute, and what was left out is told."""
    clock = Clock()
    refusals = Refusals(clock)
    with logged() as lines:
        for _ in range(MOST_OF_ONE + 1):
            refusals.tell(IPv4Address("TCP", "10.0.0.1", 1), Reason.EXPIRED, "x")
        refusals.stop()
        refusals.stop()

    assert "1 more TLS handshakes refused: 1 expired" == lines[-1]
    assert [] == clock.getDelayedCalls()
