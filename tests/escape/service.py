"""``python -m tests.escape.service FOLDER MARK``: a process of the host, as the inside would like to get hold of one.

It has the mark in its arguments, environment, memory and an open file, sends it to everyone who connects to its
sockets, and writes down each signal that it is sent. What it offers is told in a line of JSON once it is ready.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import selectors
import signal
import socket
import sys
from pathlib import Path


def main(folder: Path, mark: bytes) -> None:
    """Serve until standard input ends."""
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, lambda number, _: (folder / f"signalled-{number}").touch())
    memory = ctypes.create_string_buffer(mark, 64)
    descriptor = os.open(folder / "secret", os.O_RDONLY)
    os.chdir(folder)
    abstract = f"escape-{os.getpid()}-{os.urandom(4).hex()}"
    streams, datagrams = sockets(folder, abstract)
    port = datagrams.getsockname()[1]
    told = {"address": ctypes.addressof(memory), "descriptor": descriptor, "abstract": abstract, "port": port}
    print(json.dumps(told), flush=True)
    serve(streams, datagrams, mark)


def sockets(folder: Path, abstract: str) -> tuple[list[socket.socket], socket.socket]:
    """What streams are served on: a port, an abstract name, two paths; and what answers datagrams at the same port."""
    port = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind(("0.0.0.0", port.getsockname()[1]))
    names = [f"\0{abstract}", str(folder / "socket"), str(folder / "share/socket")]
    return [port, *map(listening, names)], datagrams


def listening(name: str) -> socket.socket:
    """A socket that everyone may connect to."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(name)
    if not name.startswith("\0"):
        os.chmod(name, 0o777)
    listener.listen()
    return listener


def serve(streams: list[socket.socket], datagrams: socket.socket, mark: bytes) -> None:
    """Send the mark to whoever comes, until standard input ends."""
    selector = selectors.DefaultSelector()
    selector.register(0, selectors.EVENT_READ, None)
    for source in (datagrams, *streams):
        selector.register(source, selectors.EVENT_READ, source)
    while True:
        for key, _ in selector.select():
            if key.data is None:
                return
            if key.data is datagrams:
                _, peer = datagrams.recvfrom(64)
                datagrams.sendto(mark, peer)
                continue
            connection, _ = key.data.accept()
            with connection, contextlib.suppress(OSError):  # it may have gone again
                connection.sendall(mark)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2].encode())
