"""Who may call what over SRPC: the same certificates and permissions as over the other protocols."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from twisted.logger import Logger

from imaginator.model.errors import ImaginatorError, NotAuthenticated, NotPermitted
from imaginator.model.identity import Identity
from imaginator.rpc.callers import Admitted, Callers
from imaginator.rpc.faults import Fault
from imaginator.rpc.identity import identity_of
from imaginator.rpc.methods import METHODS, Access
from imaginator.srpc.errors import Refused

FOR_READERS = frozenset(
    {
        "ImageServer.CheckDirectory",
        "ImageServer.CheckImage",
        "ImageServer.FindLatestImage",
        "ImageServer.GetFilteredImageUpdates",
        "ImageServer.GetImage",
        "ImageServer.GetImageExpiration",
        "ImageServer.GetImageUpdates",
        "ImageServer.ListDirectories",
        "ImageServer.ListImages",
        "ImageServer.ListSelectedImages",
        "ObjectServer.CheckObjects",
        "ObjectServer.GetObjects",
    }
)
"""What changes nothing: any identity may call it."""

_DENIED = "access to method denied"
_NOBODY = Identity("")

_log = Logger()


class Admission:
    """Lets callers in; ``plaintext`` lets everybody read who comes without TLS."""

    def __init__(self, callers: Callers, redact: Callable[[str], str], *, plaintext: bool = False) -> None:
        self._callers = callers
        self._redact = redact
        self._plaintext = plaintext

    def __call__(self, name: str, transport: Any) -> Admitted:
        """The caller of a method; raises `Refused` with the words that Dominator's programs know."""
        identity = self._identity(name, transport)
        caller = self._callers.known(identity, name)
        if not caller.full_access and not _is_open(name):
            raise Refused(_DENIED)
        return Admitted(identity, caller)

    def _identity(self, name: str, transport: Any) -> Identity:
        shown = getattr(transport, "getPeerCertificate", None)
        if shown is None and self._plaintext and name in FOR_READERS:
            return _NOBODY
        try:
            certificate = None if shown is None else shown()
            if certificate is None:
                raise Refused(f"{_DENIED}: no client certificate was shown")
            return identity_of(certificate.to_cryptography())
        except NotAuthenticated as error:
            raise Refused(f"{_DENIED}: {error}") from None

    def translate(self, error: Exception, name: str) -> str:
        """The words for a failure; an unexpected one is in the daemon's log."""
        if isinstance(error, NotPermitted):
            return _DENIED
        if isinstance(error, ImaginatorError | Fault | ValueError):
            return self._redact(str(error))
        incident = secrets.token_hex(4)
        _log.failure("incident {id}: {name}", id=incident, name=name)
        return f"internal error: the daemon's log tells more of incident {incident}"


def _is_open(name: str) -> bool:
    """Whether a method lets in whoever has an identity, and checks further by itself."""
    if name in FOR_READERS:
        return True
    return name in METHODS and METHODS[name].access is not Access.FULL
