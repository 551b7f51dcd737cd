"""A server on loopback that passes everything on to a good one, until it is told to behave otherwise."""

from __future__ import annotations

import select
import socket
import socketserver
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum


class Manner(Enum):
    """How connections are answered: an answer, or what is done instead of one."""

    POLITE = "as the good server does"
    HALF = "as it does, but for the end"
    HANGS = "not at all"
    RESETS = "by a reset"
    GARBAGE = b"\x00\xffwhat?\r\n\r\n"
    CIRCLES = b"HTTP/1.1 302 Found\r\nLocation: ?again\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    FAILS = b"HTTP/1.1 500 Out Of Sorts\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


RUDE = tuple(manner for manner in Manner if manner is not Manner.POLITE)

_TURN = 0.05
"""Seconds between two looks whether all is over."""


class RudeServer:
    """Stands before the good server at ``good``, a port of loopback.

    ``manner`` is how connections are answered from now on; with ``left``, only so many more, those after it politely.
    ``cut`` is after how many bytes half an answer ends.
    """

    def __init__(self, good: int, cut: int = 300) -> None:
        self.manner = Manner.POLITE
        self.left: int | None = None
        self.cut = cut
        self.heard = 0
        self._good = good
        self._over = threading.Event()

    @contextmanager
    def serve(self) -> Iterator[str]:
        """Answer, on a free port; host and port."""
        outer = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                outer._answer(self.request)

        with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": _TURN})
            thread.start()
            try:
                yield f"127.0.0.1:{server.server_address[1]}"
            finally:
                self._over.set()
                server.shutdown()
                thread.join()

    def behave(self, manner: Manner, left: int | None = None) -> None:
        """From now on, or for so many connections."""
        self.manner, self.left, self.heard = manner, left, 0

    def _answer(self, client: socket.socket) -> None:
        manner = self._manner_of_next()
        if manner in (Manner.POLITE, Manner.HALF):
            self._pass_on(client, self.cut if manner is Manner.HALF else None)
        elif self._has_word(client) and client.recv(1 << 16):
            self.heard += 1
            self._misbehave(client, manner)

    def _manner_of_next(self) -> Manner:
        if self.left is None:
            return self.manner
        self.left -= 1
        return self.manner if self.left >= 0 else Manner.POLITE

    def _misbehave(self, client: socket.socket, manner: Manner) -> None:
        if isinstance(manner.value, bytes):
            client.sendall(manner.value)
        elif manner is Manner.RESETS:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
        else:
            while (
                self.manner is Manner.HANGS
                and not self._over.is_set()
                and not select.select([client], [], [], _TURN)[0]
            ):
                pass

    def _has_word(self, *some: socket.socket) -> list[socket.socket]:
        """Those of which one has something to say; none where all is over."""
        ready: list[socket.socket] = []
        while not ready and not self._over.is_set():
            ready = select.select(some, [], [], _TURN)[0]
        return ready

    def _pass_on(self, client: socket.socket, limit: int | None) -> None:
        """Both ways, until either side ends or the limit is reached."""
        with socket.create_connection(("127.0.0.1", self._good)) as good:
            ways = {client: good, good: client}
            data = b"."
            while data and limit != 0 and (ready := self._has_word(client, good)):
                data = ready[0].recv(1 << 16)
                if ready[0] is good and limit is not None:
                    data = data[:limit]
                    limit -= len(data)
                ways[ready[0]].sendall(data)
            self.heard += limit == 0
