"""Whoever calls, and whether the method that is called lets them in."""

from __future__ import annotations

from typing import NamedTuple

from twisted.web.server import Request

from imaginator.model.errors import NotPermitted
from imaginator.model.identity import Caller, Identity, Trusted
from imaginator.rpc.identity import identify
from imaginator.rpc.methods import METHODS, Access, Method


class Admitted(NamedTuple):
    """Who calls a method."""

    identity: Identity
    caller: Caller


class Callers:
    """Admits callers; ``trusted`` are those whom the daemon's flags let in everywhere."""

    def __init__(self, trusted: Trusted) -> None:
        self._trusted = trusted

    def admitted(self, method: Method, identity: Identity) -> Caller:
        """An identity as the caller of a method; raises `NotPermitted`."""
        caller = self.known(identity, method.grant or method.name)
        if not caller.full_access and method.access is Access.FULL:
            raise NotPermitted(f"no permission to call: {method.name}")
        return caller

    def known(self, identity: Identity, method: str) -> Caller:
        """An identity, and whether it has full access to what is called so."""
        return Caller(identity.user, identity.groups, self._trusted.full_access(identity, method))

    def of_request(self, request: Request, method: str) -> Caller:
        """Whoever sent a request that does what a method does; raises `NotAuthenticated` or `NotPermitted`."""
        return self.admitted(METHODS[method], identify(request))
