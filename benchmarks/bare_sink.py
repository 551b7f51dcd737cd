"""``python -m benchmarks.bare_sink CA CERTIFICATE KEY``: takes bytes over the daemon's TLS, and tells the end.

A connection begins with their number, eight bytes; the answer is one byte once they are there.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.tls import TLSMemoryBIOFactory

from imaginator.service.credentials import Files, read_credentials
from imaginator.service.tls import ServerSide


class Sink(Protocol):
    """One connection."""

    def __init__(self) -> None:
        self._left: int | None = None

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """Count."""
        if self._left is None:
            self._left, data = int.from_bytes(data[:8], "big"), data[8:]
        self._left -= len(data)
        if self._left == 0:
            self.transport.write(b".")  # type: ignore[union-attr]
            self._left = None


def main() -> None:
    """Print the port, and serve until killed."""
    server = ServerSide(read_credentials(Files(*map(Path, sys.argv[1:]))))
    factory = TLSMemoryBIOFactory(server, isClient=False, wrappedFactory=Factory.forProtocol(Sink))
    loop: Any = reactor
    print(loop.listenTCP(0, factory, interface="127.0.0.1").getHost().port, flush=True)
    loop.run()


if __name__ == "__main__":
    main()
