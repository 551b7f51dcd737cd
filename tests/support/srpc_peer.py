"""A synchronous client of SRPC, and somebody between client and server who cuts the line."""

from __future__ import annotations

import contextlib
import select
import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from imaginator.srpc.call import WIDE
from imaginator.srpc.coders import GOB, Coder, Reading
from imaginator.srpc.decoding import NOTHING_YET
from imaginator.srpc.definitions import Registry
from imaginator.srpc.kinds import Message
from imaginator.srpc.unread import Unread

SECONDS = 30.0


class Turned(Exception):
    """The server's words for not doing something."""


class Peer:
    """One connection; ``pair`` is a certificate with its key, without which there is no TLS."""

    def __init__(
        self, port: int, path: str, authority: Path | None = None, pair: tuple[Path, Path] | None = None
    ) -> None:
        self._socket: socket.socket = socket.create_connection(("127.0.0.1", port), SECONDS)
        self._unread = Unread()
        self._coder: Coder = GOB
        self._socket.sendall(f"CONNECT {path} HTTP/1.0\n\n".encode())
        self.status = self.line()
        while self.line():
            pass
        if authority is not None and " 200 " in self.status:
            context = ssl.create_default_context(cafile=authority)
            if pair is not None:
                context.load_cert_chain(*pair)
            self._socket = context.wrap_socket(self._socket, server_hostname="localhost")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def use(self, coder: Coder) -> Self:
        """Say values in another way."""
        self._coder = coder
        return self

    def line(self) -> str:
        """The next line."""
        while not (length := self._unread.until(b"\n")):
            self.more()
        return self._unread.take(length).decode().rstrip("\r\n")

    def data(self, count: int) -> bytes:
        """The next bytes."""
        while len(self._unread) < count:
            self.more()
        return self._unread.take(count)

    def more(self) -> None:
        """Wait until the server has said something."""
        data = self._socket.recv(65536)
        if not data:
            raise ConnectionError("the server has closed the connection")
        self._unread.add(data)

    def wanted(self, reading: Reading) -> bytes:
        """What somebody wants to read next."""
        while not (count := reading.wants(self._unread)):
            self.more()
        return self._unread.take(count)

    def say(self, data: bytes) -> None:
        """Send bytes."""
        self._socket.sendall(data)

    def begin(self, method: str) -> Talk:
        """A call that the server lets us make; raises `Turned`."""
        self.say(f"{method}\n".encode())
        if words := self.line():
            raise Turned(words)
        return Talk(self, self._coder)

    def ask(self, method: str, request: Message, response: type[Message]) -> Any:
        """The answer to a request; raises `Turned`."""
        talk = self.begin(method)
        talk.send(request)
        if words := self.line():
            raise Turned(words)
        return talk.receive(response)


class Talk:
    """The values of one call."""

    def __init__(self, peer: Peer, coder: Coder) -> None:
        self._peer = peer
        self._writing = coder.writing(Registry())
        self._reading = coder.reading(WIDE)

    def send(self, value: Message) -> None:
        """Say a value."""
        self._peer.say(self._writing.encode(value))

    def receive(self, message: type[Message]) -> Any:
        """The next value."""
        while True:
            self._reading.feed(self._peer.wanted(self._reading))
            if (value := self._reading.next(message)) is not NOTHING_YET:
                return value


class Line:
    """Passes on what client and server at ``port`` say, until so many bytes of both have gone through; then it cuts.

    ``cuts`` are these numbers, one for each cut; after the last one nothing is cut any more. ``heard`` counts.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self.cuts: list[int] = []
        self.heard = 0
        self.port = 0
        self._lock = threading.Lock()

    @contextmanager
    def open(self) -> Iterator[Self]:
        """Pass on."""
        outer = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError):
                    outer._pass(self.request)

        with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
            server.daemon_threads = True
            self.port = server.server_address[1]
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
            thread.start()
            try:
                yield self
            finally:
                server.shutdown()
                thread.join()

    def _pass(self, client: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", self._port), SECONDS) as server:
            others = {client: server, server: client}
            while True:
                for one in select.select([client, server], [], [])[0]:
                    data = one.recv(16384)
                    if not data or self._is_enough(len(data)):
                        return
                    others[one].sendall(data)

    def _is_enough(self, count: int) -> bool:
        with self._lock:
            self.heard += count
            if self.cuts and self.heard > self.cuts[0]:
                self.cuts.pop(0)
                return True
            return False
