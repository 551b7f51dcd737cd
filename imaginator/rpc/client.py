"""A synchronous client of the daemon: JSON-RPC over TLS, and pages as streams. Standard library only."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import socket
import ssl
import time
from collections.abc import Generator, Mapping
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

RPC_PATH = "/jsonrpc"

_CONNECT_SECONDS = 30.0
_IDLE_SECONDS = 5.0
"""A connection unused for longer is opened anew: the daemon closes idle ones soon after."""

_LONGEST_ANSWER = 256 * 1024 * 1024
_LONGEST_ERROR = 64 * 1024

_LONGEST_LINE = 1024 * 1024

_JSON = {"Content-Type": "application/json"}

_CODES: dict[int, int] = {
    HTTPStatus.BAD_REQUEST: -32602,
    HTTPStatus.UNAUTHORIZED: -32001,
    HTTPStatus.FORBIDDEN: -32002,
    HTTPStatus.NOT_FOUND: -32003,
    HTTPStatus.CONFLICT: -32004,
}
"""The RPC error code that tells the same as a page's HTTP status; others tell -32603."""


class ClientError(Exception):
    """A call failed; the text is a sentence for people."""


class Unreachable(ClientError):
    """The daemon cannot be talked to: host, port, TLS or certificates."""


class Away(Unreachable):
    """The daemon is not there, or went away meanwhile: it may come back."""


class RpcError(ClientError):
    """The daemon's answer is an error; ``code`` and ``data`` are for programs."""

    def __init__(self, code: int, message: str, data: dict[str, Any]) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data


class Credentials(NamedTuple):
    """PEM files: the caller's certificate and key (None: none shown), the authority of the daemon's certificate.

    Without an ``authority`` the system's are trusted.
    """

    certificate: Path | None = None
    key: Path | None = None
    authority: Path | None = None


class Client:
    """A context: one persistent connection for calls, which follow one another; a stream has its own."""

    def __init__(self, host: str, port: int, credentials: Credentials) -> None:
        self._host = host
        self._port = port
        self._credentials = credentials
        self._context = _context(credentials)
        self._connection: http.client.HTTPSConnection | None = None
        self._latest: http.client.HTTPSConnection | None = None
        self._last_used = 0.0
        self._ids = itertools.count(1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def abort(self) -> None:
        """End the exchange that another thread is waiting for, which raises `Unreachable` there."""
        line = self._latest.sock if self._latest else None
        if line is not None:
            with contextlib.suppress(OSError):  # it has ended by itself
                socket.socket.shutdown(line, socket.SHUT_RDWR)  # TLS' own would not let the thread know

    def call(self, method: str, **parameters: Any) -> Any:
        """The result of a call; raises `RpcError` with the daemon's error, or `Unreachable`."""
        call_id = next(self._ids)
        message = {"jsonrpc": "2.0", "method": method, "params": parameters, "id": call_id}
        try:
            answer = self._exchange(json.dumps(message).encode())
        except BaseException:
            # An answer that was not read to its end would be taken for the next call's.
            self.close()
            raise
        return _result(answer, call_id)

    def stream(self, path: str) -> http.client.HTTPResponse:
        """The body of a page, to be read as it comes (``read1``) and closed; raises `RpcError` or `Unreachable`."""
        response = self._ask("GET", path, None, {"Accept": "text/plain"})
        if response.status != HTTPStatus.OK:
            with response:
                raise _page_error(path, response)
        return response

    def lines(self, path: str, **parameters: Any) -> Generator[dict[str, Any], None, None]:
        """The JSON values of an answer, a line each, as they come; raises `RpcError` for an error, or `Unreachable`.

        The exchange ends where whoever iterates stops.
        """
        with self._ask("POST", path, json.dumps(parameters).encode(), _JSON) as response:
            while line := response.readline(_LONGEST_LINE):
                message: dict[str, Any] = _decoded(line)
                if "error" in message:
                    raise _error(message)
                yield message

    def _ask(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> http.client.HTTPResponse:
        """The head of an answer on a connection of its own, which ends with it."""
        connection = self._connect()
        try:
            connection.request(method, path, body, {"Connection": "close", **headers})
            return connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise self._unreachable(error) from error

    def _exchange(self, body: bytes) -> bytes:
        connection = self._open()
        try:
            connection.request("POST", RPC_PATH, body, _JSON)
            answer = connection.getresponse().read(_LONGEST_ANSWER + 1)
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from error
        self._last_used = time.monotonic()
        if len(answer) > _LONGEST_ANSWER:
            raise Unreachable(f"the answer of {self._address} is longer than {_LONGEST_ANSWER} bytes")
        return answer

    def _open(self) -> http.client.HTTPSConnection:
        if self._connection is not None and time.monotonic() - self._last_used > _IDLE_SECONDS:
            self.close()
        if self._connection is None:
            self._connection = self._connect()
        return self._connection

    def _connect(self) -> http.client.HTTPSConnection:
        connection = http.client.HTTPSConnection(
            self._host, self._port, timeout=_CONNECT_SECONDS, context=self._context
        )
        try:
            connection.connect()
        except OSError as error:
            connection.close()
            raise self._unreachable(error) from error
        # A build may take hours: from here on only the peer's end counts, which keep-alive notices.
        connection.sock.settimeout(None)
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._latest = connection
        return connection

    @property
    def _address(self) -> str:
        return f"{self._host} port {self._port}"

    def _unreachable(self, error: Exception) -> Unreachable:
        from imaginator.rpc.explaining import Server, explain

        kind = Away if _may_come_back(error) else Unreachable
        server = Server(self._host, self._port, self._credentials.certificate, self._credentials.authority)
        return kind(explain(error, server, _CONNECT_SECONDS))


def _context(credentials: Credentials) -> ssl.SSLContext:
    """A context that verifies the daemon's certificate and name, and shows the caller's."""
    for path in credentials:
        _check_readable(path)
    try:
        context = ssl.create_default_context(cafile=credentials.authority)
    except ssl.SSLError:
        raise Unreachable(f"{credentials.authority}: expected certificates in PEM form") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if credentials.certificate is not None:
        try:
            context.load_cert_chain(credentials.certificate, credentials.key)
        except ssl.SSLError:
            raise Unreachable(
                f"{credentials.certificate}, {credentials.key}: expected a certificate and its key in PEM form"
            ) from None
    return context


def _check_readable(path: Path | None) -> None:
    try:
        if path is not None:
            os.close(os.open(path, os.O_RDONLY))
    except OSError as error:
        raise Unreachable(f"{path}: {error.strerror}") from None


def _may_come_back(error: Exception) -> bool:
    """Whether an error of a connection is one that ends when the daemon, or its host, has started again."""
    return isinstance(error, ssl.SSLEOFError) or not isinstance(error, ssl.SSLError | socket.gaierror)


def _result(answer: bytes, call_id: int) -> Any:
    message = _decoded(answer)
    if "error" in message:
        raise _error(message)
    if "result" not in message:
        raise _unexpected(answer)
    if message.get("id") != call_id:
        raise Unreachable(f"expected the answer to call {call_id}, found that to {message.get('id')}")
    return message["result"]


def _decoded(answer: bytes) -> dict[str, Any]:
    try:
        message = json.loads(answer)
    except ValueError:
        raise _unexpected(answer) from None
    if not isinstance(message, dict):
        raise _unexpected(answer)
    return message


def _error(message: dict[str, Any]) -> ClientError:
    error = message["error"]
    try:
        return RpcError(error["code"], error["message"], error.get("data", {}))
    except (KeyError, TypeError, AttributeError):
        return _unexpected(json.dumps(message).encode())


def _unexpected(answer: bytes) -> Unreachable:
    text = answer[:200].decode(errors="replace").strip()
    return Unreachable(f"expected a JSON-RPC answer, found: {text or 'nothing'}")


def _page_error(path: str, response: http.client.HTTPResponse) -> RpcError:
    text = response.read(_LONGEST_ERROR).decode(errors="replace").strip()
    is_sentence = response.headers.get_content_type() == "text/plain" and text
    message = text if is_sentence else f"{path}: {response.status} {response.reason}"
    return RpcError(_CODES.get(response.status, -32603), message, {"kind": "http"})
