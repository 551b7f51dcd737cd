"""Which requests are looked at: those of a known caller, over TLS, with a body that is JSON and not too large.

403 on plain HTTP and 401 without a usable client certificate, with nothing executed; 413 and 415 for bodies that are
too large or not JSON. Requiring the JSON content type keeps a browser that holds a certificate from being made to call
by another site's form.
"""

from __future__ import annotations

from twisted.web.server import Request

from imaginator.model.errors import NotAuthenticated
from imaginator.model.identity import Identity
from imaginator.rpc.faults import INVALID_CALL, Fault, fault_of
from imaginator.rpc.identity import identify

LONGEST_BODY = 1024 * 1024


class NotAdmitted(Exception):
    """The request is answered with an HTTP status and a fault."""

    def __init__(self, status: int, fault: Fault) -> None:
        super().__init__(fault.message)
        self.status = status
        self.fault = fault


def admit(request: Request) -> tuple[Identity, bytes]:
    """The caller of a request, and its body; raises `NotAdmitted`."""
    try:
        identity = identify(request)
    except NotAuthenticated as error:
        raise NotAdmitted(401 if request.isSecure() else 403, fault_of(error)) from None
    if request.method != b"POST":
        request.setHeader(b"allow", b"POST")
        raise _invalid(405, "calls are sent by POST")
    if not _is_json(request):
        raise _invalid(415, "expected the content type application/json")
    body = request.content.read(LONGEST_BODY + 1) if request.content else b""
    if len(body) > LONGEST_BODY:
        raise _invalid(413, f"a body has at most {LONGEST_BODY} bytes")
    return identity, body


def _invalid(status: int, sentence: str) -> NotAdmitted:
    return NotAdmitted(status, Fault(INVALID_CALL, sentence, {"kind": "invalid-call"}))


def _is_json(request: Request) -> bool:
    kind = (request.getHeader("content-type") or "").partition(";")[0]
    return kind.strip().lower() == "application/json"
