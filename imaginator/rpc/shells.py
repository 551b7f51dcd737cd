"""Shells over HTTPS: ``POST /shell`` opens one in the tree of a failed build, and its answer is what the shell says.

The body is a `ShellRequest` in JSON, the answer JSON values, one a line, each with one field: ``ShellId``; then any
number of ``Output`` (base64); last ``End``, a `ShellEnd`. In their place, ``error`` is one of JSON-RPC. What the shell
is to read is sent by the method ``Imaginator.WriteToShell``, so either direction is a plain HTTP exchange. The shell
lives as long as this request, and waits with its output while the client does not take it.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import msgspec
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from imaginator.model.codec import to_plain
from imaginator.model.identity import Identity
from imaginator.rpc.admitting import JSON, NotAdmitted, admit
from imaginator.rpc.faults import Fault
from imaginator.rpc.jsonrpc import decode_message, encode_failed
from imaginator.rpc.operations import Operations

if TYPE_CHECKING:
    from imaginator.schedule.shells import Shell

_GONE = "its user has left"

_log = Logger()


class ShellPage(Resource):
    """The resource at ``/shell``."""

    isLeaf = True  # noqa: N815

    def __init__(self, operations: Operations) -> None:
        super().__init__()
        self._operations = operations

    def render(self, request: Request) -> bytes | int:
        """Authenticate before anything else, then answer POST."""
        request.setHeader(b"content-type", b"application/x-ndjson")
        try:
            identity, body = admit(request, JSON)
        except NotAdmitted as refusal:
            request.setResponseCode(refusal.status)
            return encode_failed(None, refusal.fault)
        serving = Deferred.fromCoroutine(_Serving(request).serve(self._operations, identity, body))
        serving.addErrback(lambda failure: _log.failure("a shell's answer was cut off", failure))
        return NOT_DONE_YET


class _Serving:
    """One request, and its shell."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._shell: Shell | None = None
        self._gone = False
        request.notifyFinish().addErrback(self._leave)

    async def serve(self, operations: Operations, identity: Identity, body: bytes) -> None:
        """Open the shell, and see it to its end."""
        try:
            self._shell = await operations.open_shell(decode_message(body), identity, self._hear)
        except Fault as fault:
            self._finish(encode_failed(None, fault))
            return
        if self._gone:
            await self._shell.close(_GONE)
            return
        self._request.registerProducer(self._shell, True)
        self._say("ShellId", self._shell.shell_id)
        end = await self._shell.over()
        if not self._gone:
            self._request.unregisterProducer()
            self._say("End", to_plain(end))
            self._request.finish()

    def _hear(self, data: bytes) -> None:
        self._say("Output", base64.b64encode(data).decode())

    def _say(self, name: str, value: object) -> None:
        if not self._gone:
            self._request.write(msgspec.json.encode({name: value}) + b"\n")

    def _finish(self, answer: bytes) -> None:
        if not self._gone:
            self._request.write(answer + b"\n")
            self._request.finish()

    def _leave(self, _reason: Failure) -> None:
        """The client is gone, and with it the shell."""
        self._gone = True
        if self._shell is not None:
            closing = Deferred.fromCoroutine(self._shell.close(_GONE))
            closing.addErrback(lambda failure: _log.failure("a shell cannot be ended", failure))
