"""XML-RPC over HTTPS (http://xmlrpc.com/spec.md): the methods, permissions and error codes of JSON-RPC.

A call's only parameter is a structure. Values are those of JSON, but that whole numbers beyond 31 bits are doubles,
that what is null is absent, and that characters which XML cannot carry are U+FFFD. Times may come as
``dateTime.iso8601``, taken as UTC, and texts as ``base64``.

A body with a document type, and so with entities of its own, is refused before anything is made of it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any
from xml.parsers import expat
from xmlrpc.client import Binary, DateTime, dumps
from xmlrpc.client import Fault as XmlFault

from twisted.internet.defer import Deferred
from twisted.web.resource import Resource
from twisted.web.server import Request
from twisted.web.xmlrpc import XMLRPC

from imaginator.model.identity import Identity
from imaginator.rpc.admitting import NotAdmitted, admit
from imaginator.rpc.faults import DEEPEST_NESTING, PARSE_ERROR, Fault, invalid_call, too_deep, unparsable
from imaginator.rpc.operations import Operations
from imaginator.rpc.xmlvalues import readable, response

XML = ("text/xml", "application/xml")
_ELEMENTS = 4
"""How many elements deep a value lies in another: value, struct, member, value."""

_TIME = re.compile(r"(\d{4})-?(\d\d)-?(\d\d)T(\d\d:\d\d:\d\d)")


class XmlRpc(Resource):
    """The resource at ``/RPC2``.

    A call once begun is carried through: when its client goes away, only the answer is lost.
    """

    isLeaf = True  # noqa: N815

    def __init__(self, operations: Operations) -> None:
        super().__init__()
        self._operations = operations

    def render(self, request: Request) -> bytes | int:
        """Authenticate before anything else, then answer POST."""
        request.setHeader(b"content-type", b"text/xml; charset=utf-8")
        try:
            identity, body = admit(request, XML)
        except NotAdmitted as refusal:
            request.setResponseCode(refusal.status)
            return _failed(refusal.fault)
        try:
            check_call(body)
        except Fault as fault:
            return _failed(fault)
        answered: int = _Calls(self._operations, identity).render_POST(request)
        return answered


class _Calls(XMLRPC):
    """The methods as one caller's procedures; ``FAILURE`` is what Twisted says of parameters that it cannot read."""

    FAILURE = PARSE_ERROR

    def __init__(self, operations: Operations, identity: Identity) -> None:
        super().__init__()
        self._operations = operations
        self._identity = identity

    def lookupProcedure(self, procedurePath: str) -> Callable[..., Deferred[Any]]:  # noqa: N802, N803
        """The procedure of a name; whether there is such a method is told when it is called."""

        def procedure(*parameters: object) -> Deferred[Any]:
            return Deferred.fromCoroutine(self._perform(procedurePath, parameters))

        return procedure

    async def _perform(self, name: str, parameters: tuple[object, ...]) -> Any:
        try:
            given = [to_json_value(parameter) for parameter in parameters]
            return response(await self._operations.perform(name, given, self._identity))
        except Fault as fault:
            return _xml_fault(fault)

    def _cbRender(self, result: Any, request: Request, responseFailed: object = None) -> None:  # noqa: N802, N803
        """Send an answer; Twisted has others written, which are faults."""
        if not isinstance(result, bytes):
            super()._cbRender(result, request, responseFailed)
        elif not responseFailed:
            request.setHeader(b"content-length", str(len(result)).encode())
            request.write(result)
            request.finish()


def check_call(body: bytes) -> None:
    """Raise `Fault` unless a body is well-formed XML, the call of a method, and harmless to parse."""
    check = _Check()
    try:
        check.parser.Parse(body, True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise unparsable(f"the body is not XML: {error}") from None
    if check.path != "methodCall":
        raise invalid_call(f"expected a methodCall, found {check.path}")
    if not check.named:
        raise invalid_call("the call names no method")


class _Check:
    """What a look at a body finds: its outermost element, and whether there is a method's name."""

    def __init__(self) -> None:
        self.path = ""
        self.named = False
        self._depth = 0
        self.parser = expat.ParserCreate()
        self.parser.StartDoctypeDeclHandler = self._refuse
        self.parser.StartElementHandler = self._begin
        self.parser.EndElementHandler = self._end

    def _refuse(self, *_: object) -> None:
        raise unparsable("the body has a document type, which no call needs")

    def _begin(self, name: str, _attributes: object) -> None:
        self.path = self.path or name
        self.named |= name == "methodName"
        self._depth += 1
        if self._depth > _ELEMENTS * DEEPEST_NESTING:
            raise too_deep()

    def _end(self, _name: str) -> None:
        self._depth -= 1


def to_json_value(value: Any) -> Any:
    """A parameter as JSON would have it; raises `Fault` where JSON has nothing like it."""
    match value:
        case dict():
            return {name: to_json_value(item) for name, item in value.items()}
        case list() | tuple():
            return [to_json_value(item) for item in value]
        case DateTime():
            return _time(value.value)
        case Binary():
            return value.data.decode(errors="replace")
        case float() if not math.isfinite(value):
            raise invalid_call(f"{value} is no number")
        case str() | bool() | int() | float() | None:
            return value
    raise invalid_call(f"unexpected type of value: {type(value).__name__}")


def _time(text: str) -> str:
    """A time as RFC 3339 has it; one that is none is left to be refused as such."""
    return _TIME.sub(r"\1-\2-\3T\4", text) + ("" if text.endswith("Z") else "Z")


def _xml_fault(fault: Fault) -> XmlFault:
    return XmlFault(fault.code, readable(fault.message))


def _failed(fault: Fault) -> bytes:
    return dumps(_xml_fault(fault), methodresponse=True).encode()
