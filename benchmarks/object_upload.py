"""Sending 160 MB of new objects to our own image server, against one bare transfer of Twisted's over the same TLS.

Both clients run in this process, both servers in one of their own. The objects are as many and as large as the files of
a minimal Debian; what is sent is read from the disk, hashed and made durable at the other end.
"""

from __future__ import annotations

import hashlib
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.protocol import Protocol

from benchmarks.build_site import BuildSite
from benchmarks.figure import Figure, spread
from imaginator.service.credentials import Files
from imaginator.service.upstream import Securing
from imaginator.srpc.client import Client, Server
from imaginator.store.exchange import Exchange, ExchangeParts
from imaginator.store.objects import Objects
from imaginator.store.workers import Workers
from tests.support.ports import free_port
from tests.support.small_system import SMALL_PACKAGER, small_bootstrap

reactor: Any = _reactor

TOTAL = 160_000_000
COUNT = 5_000
LARGE = (40_000_000, 20_000_000, 10_000_000)
"""A few large files have nearly half of all, as in the minimal Debian."""
ROUNDS = 5


def measure(folder: Path) -> Figure:
    """Rounds of both in turn; each uploads what was never there."""
    port = free_port()
    (folder / "site").mkdir()
    flags = ("--serve-images-port", str(port))
    with BuildSite(folder, small_bootstrap(folder), SMALL_PACKAGER, flags=flags) as site:
        files = Files(site.site.authority, *site.site.certificate("imaginator"))
        with _sink(files) as sink:
            rounds = _in_reactor(lambda: _rounds(folder, port, sink, files))
    ours, bare = (list(times) for times in zip(*rounds, strict=True))
    size = f"{TOTAL / 1e6:.0f} MB in {COUNT} objects"
    parts = [spread(f"{size}, sent, hashed and durable", ours), spread("the same bytes by a bare transfer", bare)]
    return Figure("object-upload", statistics.median(ours) / statistics.median(bare), 1.5, parts)


async def _rounds(folder: Path, port: int, sink: int, files: Files) -> list[tuple[float, float]]:
    workers = Workers(4, reactor)
    workers.startService()
    securing = Securing("localhost", files)
    client = Client(reactor, workers.run, Server("localhost", port, securing))
    try:
        found = []
        for number in range(ROUNDS):
            objects = Objects(folder / f"objects-{number}")
            sizes = _filled(objects, number)
            exchange = Exchange(ExchangeParts(client, objects, workers, folder))
            began = reactor.seconds()
            await exchange.send(sizes, {})
            middle = reactor.seconds()
            await _bare(sink, securing)
            found.append((middle - began, reactor.seconds() - middle))
        return found
    finally:
        client.close()
        workers.stopService()


def _filled(objects: Objects, number: int) -> dict[bytes, int]:
    """New objects in a store, and their sizes."""
    small = (TOTAL - sum(LARGE)) // (COUNT - len(LARGE))
    found = {}
    for place in range(COUNT):
        size = LARGE[place] if place < len(LARGE) else small
        data = os.urandom(16) + bytes((number, place % 256)) * (size // 2 - 8)
        digest = hashlib.sha512(data).digest()
        path = objects.path(digest)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        found[digest] = len(data)
    return found


class _Sender(Protocol):
    """Sends, and waits for the answer."""

    def __init__(self) -> None:
        self.done: Deferred[None] = Deferred()

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        """Send all of it, as the transport asks for it."""
        self._left = TOTAL
        self._block = os.urandom(1 << 20)
        transport: Any = self.transport
        transport.write(TOTAL.to_bytes(8, "big"))
        transport.registerProducer(self, False)

    def resumeProducing(self) -> None:  # noqa: N802 - Twisted's name
        """Send the next block."""
        transport: Any = self.transport
        block = self._block[: self._left]
        self._left -= len(block)
        transport.write(block)
        if not self._left:
            transport.unregisterProducer()

    def stopProducing(self) -> None:  # noqa: N802 - Twisted's name
        """The connection has ended."""

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """It has arrived."""
        self.done.callback(None)


async def _bare(port: int, securing: Securing) -> None:
    endpoint = wrapClientTLS(securing(), HostnameEndpoint(reactor, "localhost", port))
    sender: Any = await connectProtocol(endpoint, _Sender())
    await sender.done
    sender.transport.loseConnection()


@contextmanager
def _sink(files: Files) -> Iterator[int]:
    """The port of the bare server."""
    argv = [sys.executable, "-m", "benchmarks.bare_sink", *map(str, files[:3])]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield int(server.stdout.readline())
        server.kill()


def _in_reactor(work: Callable[[], Any]) -> Any:
    """What a coroutine gives, run in the reactor, which ends with it."""
    results: list[Any] = []

    def begin() -> None:
        running = Deferred.fromCoroutine(work())
        running.addBoth(results.append)
        running.addBoth(lambda _: reactor.stop())

    reactor.callWhenRunning(begin)
    reactor.run()
    (result,) = results
    if hasattr(result, "raiseException"):
        result.raiseException()
    return result
