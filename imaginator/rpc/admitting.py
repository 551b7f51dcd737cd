"""Which requests are looked at: those of a known caller, over TLS, with a body of the right type and not too large.

403 on plain HTTP and 401 without a usable client certificate, with nothing executed; 413 and 415 for bodies that are
too large or of another type. Requiring a type that forms cannot have keeps a browser that holds a certificate from
being made to call by another site.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.web.server import Request

from imaginator.model.errors import NotAuthenticated
from imaginator.model.identity import Identity
from imaginator.rpc.faults import Fault, fault_of, invalid_call
from imaginator.rpc.identity import identify

LONGEST_BODY = 1024 * 1024

JSON = ("application/json", "application/json-rpc", "application/jsonrequest")
"""Those of "JSON-RPC over HTTP" (https://www.jsonrpc.org/historical/json-rpc-over-http.html)."""


class NotAdmitted(Exception):
    """The request is answered with an HTTP status and a fault."""

    def __init__(self, status: int, fault: Fault) -> None:
        super().__init__(fault.message)
        self.status = status
        self.fault = fault


def admit(request: Request, types: Sequence[str]) -> tuple[Identity, bytes]:
    """The caller of a request, and its body, which has to be of one of ``types``; raises `NotAdmitted`."""
    try:
        identity = identify(request)
    except NotAuthenticated as error:
        raise NotAdmitted(401 if request.isSecure() else 403, fault_of(error)) from None
    if request.method != b"POST":
        request.setHeader(b"allow", b"POST")
        raise _invalid(405, "calls are sent by POST")
    if _content_type(request) not in types:
        raise _invalid(415, f"expected the content type {' or '.join(types)}")
    body = request.content.read(LONGEST_BODY + 1) if request.content else b""
    if len(body) > LONGEST_BODY:
        raise _invalid(413, f"a body has at most {LONGEST_BODY} bytes")
    return identity, body


def _invalid(status: int, sentence: str) -> NotAdmitted:
    return NotAdmitted(status, invalid_call(sentence))


def _content_type(request: Request) -> str:
    return (request.getHeader("content-type") or "").partition(";")[0].strip().lower()
