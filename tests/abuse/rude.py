"""Clients that keep no manners: sockets to the daemon, from an address of the loopback that is not everybody's."""

from __future__ import annotations

import selectors
import socket
import ssl
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress

from tests.support.live import Live

PATIENCE = 60.0
"""Seconds after which a connection that should have ended counts as one that hangs."""

BLOCK = 64 * 1024


class Rude:
    """Connections to one daemon; leaving the context closes them."""

    def __init__(self, live: Live, source: str = "127.0.0.2") -> None:
        self._live = live
        self._source = source
        self._open = ExitStack()

    def __enter__(self) -> Rude:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def plain(self, receive: int = 0) -> socket.socket:
        """A connection; ``receive`` bytes are what its host takes for a client that does not read."""
        one = socket.socket()
        self._open.callback(one.close)
        one.settimeout(PATIENCE)
        if receive:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        one.bind((self._source, 0))
        one.connect(("127.0.0.1", self._live.daemon.port))
        return one

    def tls(self, who: str = "user", newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLSocket:
        """A connection after its handshake, with the certificate of ``who``; an empty name shows none."""
        return self.secured(self.plain(), who, newest)

    def secured(
        self, plain: socket.socket, who: str = "user", newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
    ) -> ssl.SSLSocket:
        """A connection that is plain so far, after the handshake."""
        one = self.context(who, newest).wrap_socket(plain, server_hostname="localhost")
        self._open.callback(one.close)
        return one

    def context(self, who: str = "user", newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
        """The client's side of TLS."""
        context = ssl.create_default_context(cafile=self._live.site.authority)
        context.maximum_version = newest
        if who:
            context.load_cert_chain(*self._live.site.certificate(who))
        return context


def rest(one: socket.socket) -> bytes:
    """What comes until the connection ends, be it by force."""
    parts = []
    with suppress(ConnectionError, ssl.SSLError):
        while data := one.recv(BLOCK):
            parts.append(data)
    return b"".join(parts)


def offer(one: socket.socket, data: bytes) -> None:
    """Send as much as the other side lets us before it ends the connection."""
    with suppress(ConnectionError, ssl.SSLError):
        one.sendall(data)


def outlived(sockets: Iterable[socket.socket], each_second: Callable[[], None] = lambda: None) -> float:
    """Seconds until the last of these is ended from the other side, while ``each_second`` something is done."""
    begun = time.monotonic()
    due = begun + 1
    with selectors.DefaultSelector() as selector:
        for one in sockets:
            one.setblocking(False)
            selector.register(one, selectors.EVENT_READ)
        while selector.get_map():
            assert time.monotonic() < begun + PATIENCE, f"{len(selector.get_map())} connections stand"
            for key, _ in selector.select(max(due - time.monotonic(), 0)):
                if is_over(key.fileobj):  # type: ignore[arg-type]
                    selector.unregister(key.fileobj)
            if time.monotonic() >= due:
                due += 1
                each_second()
    return time.monotonic() - begun


def is_over(one: socket.socket) -> bool:
    """Whether a connection that can be read has come to its end."""
    try:
        return not one.recv(BLOCK)
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    except OSError:
        return True
