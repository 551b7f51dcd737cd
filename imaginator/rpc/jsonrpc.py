"""JSON-RPC 2.0 over HTTPS, to the letter of https://www.jsonrpc.org/specification.

The answer's HTTP status is 200, or 204 where only notifications came, or what `admitting` says.
"""

from __future__ import annotations

import re
from typing import Any, Literal

import msgspec
from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from imaginator.model.identity import Identity
from imaginator.rpc.admitting import JSON, NotAdmitted, admit
from imaginator.rpc.faults import DEEPEST_NESTING, Fault, internal_fault, invalid_call, too_deep, unparsable
from imaginator.rpc.operations import Operations

LARGEST_BATCH = 100

_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')
_ALIKE = bytes.maketrans(b"{}", b"[]")
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_log = Logger()


class Call(msgspec.Struct, frozen=True):
    """A request object; without an ``id`` it is a notification, which gets no answer."""

    jsonrpc: Literal["2.0"]
    method: str
    params: dict[str, Any] | list[Any] = {}
    id: str | int | float | msgspec.UnsetType | None = msgspec.UNSET


Answer = dict[str, object]


class JsonRpc(Resource):
    """The resource at ``/jsonrpc``.

    A call once begun is carried through: when its client goes away, only the answer is lost.
    """

    isLeaf = True  # noqa: N815

    def __init__(self, operations: Operations) -> None:
        super().__init__()
        self._operations = operations

    def render(self, request: Request) -> bytes | int:
        """Authenticate before anything else, then answer POST."""
        request.setHeader(b"content-type", b"application/json")
        try:
            identity, body = admit(request, JSON)
        except NotAdmitted as refusal:
            request.setResponseCode(refusal.status)
            return encode_failed(None, refusal.fault)
        self._reply(request, body, identity)
        return NOT_DONE_YET

    def _reply(self, request: Request, body: bytes, identity: Identity) -> None:
        gone: list[Failure] = []
        request.notifyFinish().addErrback(gone.append)

        def send(answer: bytes) -> None:
            if not gone:
                _send(request, answer)

        answering = Deferred.fromCoroutine(self._answer(body, identity))
        answering.addErrback(_internal_error).addCallback(send)

    async def _answer(self, body: bytes, identity: Identity) -> bytes:
        """The answer to a body; empty where nothing is to be said."""
        try:
            message = decode_message(body)
        except Fault as fault:
            return encode_failed(None, fault)
        if isinstance(message, list):
            return await self._batch(message, identity)
        answer = await self._one(message, identity)
        return b"" if answer is None else _encode(answer)

    async def _batch(self, messages: list[object], identity: Identity) -> bytes:
        if not 1 <= len(messages) <= LARGEST_BATCH:
            return encode_failed(None, invalid_call(f"a batch has 1 to {LARGEST_BATCH} calls"))
        pending = [Deferred.fromCoroutine(self._one(message, identity)) for message in messages]
        answers = [answer for answer in await gatherResults(pending) if answer is not None]
        return _encode(answers) if answers else b""

    async def _one(self, message: object, identity: Identity) -> Answer | None:
        """The answer to one request object; None to a notification."""
        try:
            call = msgspec.convert(message, Call)
        except msgspec.ValidationError as error:
            return _failed(_id_of(message), invalid_call(f"not a JSON-RPC 2.0 request: {error}"))
        answer = await self._perform(call, identity)
        return None if call.id is msgspec.UNSET else answer

    async def _perform(self, call: Call, identity: Identity) -> Answer:
        try:
            result = msgspec.Raw(await self._operations.answer(call.method, call.params, identity))
        except Fault as fault:
            return _failed(call.id, fault)
        return {"jsonrpc": "2.0", "result": result, "id": call.id}


def decode_message(body: bytes) -> object:
    """The JSON value of a body; raises `Fault` where it is malformed, nested too deeply, or holds NaN or infinity."""
    try:
        message: object = msgspec.json.decode(body)
    except RecursionError:
        raise too_deep() from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise unparsable(f"the body is not JSON: {error}") from None
    if _nesting_exceeds(DEEPEST_NESTING, body):
        raise too_deep()
    return message


def _nesting_exceeds(limit: int, body: bytes) -> bool:
    """Whether well-formed JSON is nested deeper than ``limit``: each round takes the innermost brackets away."""
    brackets = _STRING.sub(b"", body).translate(_ALIKE, _NOT_BRACKETS)
    for _ in range(limit):
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)


def _id_of(message: object) -> object:
    """The id of a malformed request object, None where it has no valid one."""
    found = message.get("id") if isinstance(message, dict) else None
    return found if isinstance(found, str | int | float) and not isinstance(found, bool) else None


def _failed(call_id: object, fault: Fault) -> Answer:
    error = {"code": fault.code, "message": fault.message, "data": fault.data}
    return {"jsonrpc": "2.0", "error": error, "id": call_id}


def _internal_error(failure: Failure) -> bytes:
    fault = internal_fault()
    _log.failure("incident {id}: answering JSON-RPC", failure, id=fault.data["Incident"])
    return encode_failed(None, fault)


def encode_failed(call_id: object, fault: Fault) -> bytes:
    """The answer to a call that failed."""
    return _encode(_failed(call_id, fault))


def _encode(answer: object) -> bytes:
    return msgspec.json.encode(answer)


def _send(request: Request, answer: bytes) -> None:
    if answer:
        request.setHeader(b"content-length", str(len(answer)).encode())
        request.write(answer)
    else:
        request.setResponseCode(204)
    request.finish()
