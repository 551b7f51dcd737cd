"""A yardstick: servers that do nothing but speak JSON and XML-RPC over the daemon's own kind of TLS.

``python -m benchmarks.bare_rpc CA CERTIFICATE KEY ANSWER`` prints its port; ANSWER is the file of what calls result in.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from klein import Klein
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.web.resource import IResource
from twisted.web.server import Request, Site
from twisted.web.xmlrpc import XMLRPC

from imaginator.service.credentials import Files, read_credentials
from imaginator.service.tls import ServerSide
from tests.support.real_reactor import reactor


class Builds(XMLRPC):
    """The methods below ``Imaginator``."""

    def __init__(self, result: Any) -> None:
        super().__init__()
        self._result = result

    def xmlrpc_ListBuilds(self, _parameters: object) -> Any:  # noqa: N802
        """List builds."""
        return self._result


class Bare:
    """A JSON handler, and an XML-RPC resource."""

    app = Klein()

    def __init__(self, result: Any) -> None:
        self._result = result
        self._methods = XMLRPC()
        self._methods.putSubHandler("Imaginator", Builds(without_null(result)))

    @app.route("/jsonrpc", methods=["POST"])
    def json(self, request: Request) -> bytes:
        """Answer a call."""
        assert request.content is not None
        call = json.loads(request.content.read())
        request.setHeader("content-type", "application/json")
        return json.dumps({"jsonrpc": "2.0", "result": self._result, "id": call["id"]}).encode()

    @app.route("/RPC2")
    def xml(self, _request: Request) -> IResource:
        """Answer a call."""
        return self._methods


def without_null(value: Any) -> Any:
    """JSON values without what XML-RPC does not have."""
    if isinstance(value, dict):
        return {name: without_null(item) for name, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_null(item) for item in value]
    return value


def main() -> None:
    """Serve until killed."""
    authority, certificate, key, answer = map(Path, sys.argv[1:])
    site = Site(Bare(json.loads(answer.read_text())).app.resource())
    server = ServerSide(read_credentials(Files(authority, certificate, key)))
    secure = TLSMemoryBIOFactory(server, isClient=False, wrappedFactory=site)
    port: Any = reactor.listenTCP(0, secure, interface="127.0.0.1")
    print(port.getHost().port, flush=True)
    reactor.run()


if __name__ == "__main__":
    main()
