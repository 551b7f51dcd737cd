"""A yardstick: a Klein handler that returns so many bytes. ``python -m benchmarks.bare_page SIZE`` prints its port."""

from __future__ import annotations

import sys
from typing import Any

from klein import Klein
from twisted.web.server import Request, Site

from tests.support.real_reactor import reactor


class Bare:
    """One page."""

    app = Klein()

    def __init__(self, size: int) -> None:
        self._body = bytes(size)

    @app.route("/")
    def page(self, request: Request) -> bytes:
        """All of it."""
        request.setHeader("content-length", str(len(self._body)))
        return self._body


def main() -> None:
    """Serve until killed."""
    port: Any = reactor.listenTCP(0, Site(Bare(int(sys.argv[1])).app.resource()), interface="127.0.0.1")
    print(port.getHost().port, flush=True)
    reactor.run()


if __name__ == "__main__":
    main()
