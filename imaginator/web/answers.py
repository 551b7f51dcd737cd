"""What every answer has in common: headers that keep browsers safe, the status of each error, the static files."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from importlib import resources

from klein import Klein, KleinRenderable
from klein.resource import KleinResource
from twisted.internet.interfaces import ISSLTransport
from twisted.web.iweb import IRequest

from imaginator.model.errors import ImaginatorError, NotAuthenticated, NotFound, NotPermitted

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:;"
        " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""On every answer, whoever makes it."""

STATUS = {
    -32602: 400,  # invalid request
    -32001: 401,  # not authenticated
    -32002: 403,  # not permitted
    -32003: 404,  # no such stream, image or build
    -32004: 409,  # refused by a limit or a state
}
"""HTTP status by an error's code (`imaginator.model.errors`); all others are 500."""

_ASKS_BY_ITSELF = re.compile(rb"/healthz|/(jsonrpc|RPC2|shell)(/.*)?", re.DOTALL)
"""What is open to everybody, and what demands more than a certificate, and says so in its own form."""

_STATIC = {"style.css": "text/css; charset=utf-8", "live.js": "text/javascript; charset=utf-8"}


class SafeResource(KleinResource):
    """An application whose every answer carries `HEADERS`.

    ``guard`` is asked before anything else: it gives the answer to a request that is refused, None to others.
    """

    def __init__(self, app: Klein, guard: Callable[[IRequest], bytes | None]) -> None:
        super().__init__(app)
        self._guard = guard

    def render(self, request: IRequest) -> KleinRenderable:
        """Answer a request; Klein would log a traceback for an address that is not UTF-8."""
        set_headers(request, HEADERS)
        if not _is_text(request):
            return plain(request, "The address is not UTF-8.", 400)
        refusal = self._guard(request)
        return super().render(request) if refusal is None else refusal


def _is_text(request: IRequest) -> bool:
    try:
        b"/".join((request.getRequestHostname(), *request.prepath, *request.postpath)).decode()
    except UnicodeDecodeError:
        return False
    return True


def set_headers(request: IRequest, headers: Mapping[str, str]) -> None:
    """Set an answer's headers, replacing those of the same name."""
    for name, value in headers.items():
        request.setHeader(name.encode("ascii"), value.encode("ascii"))


def plain(request: IRequest, text: str, status: int = 200) -> bytes:
    """Answer with a line of plain text."""
    request.setResponseCode(status)
    set_headers(request, {"Content-Type": "text/plain; charset=utf-8"})
    return f"{text}\n".encode("utf-8", "replace")


def wants_page(request: IRequest) -> bool:
    """Whether the client is a browser, which shows a page, rather than a program, which shows a line."""
    return "text/html" in (request.getHeader("accept") or "")


def status_of(error: ImaginatorError) -> int:
    """The HTTP status that tells a program what kind of error it is."""
    return STATUS.get(error.code, 500)


def static_file(request: IRequest, name: str) -> bytes:
    """The style sheet or the script; raises `NotFound` for anything else."""
    if name not in _STATIC:
        raise NotFound(f"no such file: {name}")
    set_headers(request, {"Content-Type": _STATIC[name], "Cache-Control": "max-age=300"})
    return resources.files("imaginator.web").joinpath("static", name).read_bytes()


def is_page(request: IRequest) -> bool:
    """Whether it is one of the pages that ``--pages identity`` closes."""
    return not _ASKS_BY_ITSELF.fullmatch(request.path)


def has_certificate(transport: object) -> bool:
    """Whether a connection's client has shown a certificate that is still good."""
    secure = ISSLTransport(transport, None)
    try:
        return secure is not None and secure.getPeerCertificate() is not None
    except NotAuthenticated:
        return False


def require_certificate(request: IRequest, what: str) -> None:
    """Raise `NotPermitted` on plain HTTP and `NotAuthenticated` without a good certificate, for ``what`` needs one.

    One that is shown has been verified: TLS ends the handshake otherwise.
    """
    transport = ISSLTransport(request.transport, None)  # type: ignore[attr-defined]
    if transport is None:
        raise NotPermitted(f"{what} need HTTPS with a client certificate")
    if transport.getPeerCertificate() is None:
        raise NotAuthenticated(f"{what} need a client certificate")
