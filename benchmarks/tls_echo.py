"""``python -m benchmarks.tls_echo CA CERTIFICATE KEY LISTS``: a bare echo server with the daemon's TLS, and no more."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.protocol import Factory
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.protocols.wire import Echo

from imaginator.service.credentials import Files, read_credentials
from imaginator.service.tls import ServerSide


def main() -> None:
    """Print the port, and serve until killed."""
    server = ServerSide(read_credentials(Files(*map(Path, sys.argv[1:]))))
    factory = TLSMemoryBIOFactory(server, isClient=False, wrappedFactory=Factory.forProtocol(Echo))
    loop: Any = reactor
    print(loop.listenTCP(0, factory, interface="127.0.0.1").getHost().port, flush=True)
    loop.run()


if __name__ == "__main__":
    main()
