"""A folder of packages served on the loopback address, which counts what is fetched from it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

from imaginator.sandbox.firewall import HOST_IPV4


class ServedFolder:
    """Files in ``folder``; ``fetched`` lists the names of those ending in ``suffix`` that were sent, in that order.

    ``unchanged`` lists those that somebody had already.
    """

    def __init__(self, folder: Path, suffix: str) -> None:
        self.folder = folder
        self.suffix = suffix
        self.fetched: list[str] = []
        self.unchanged: list[str] = []
        self.port = 0
        folder.mkdir(parents=True)

    @property
    def url(self) -> str:
        """The address for builds, which see the folder where `flags` open it."""
        return f"http://{HOST_IPV4}:{self.port}/"

    @property
    def local_url(self) -> str:
        """The same for a program of this host."""
        return f"http://127.0.0.1:{self.port}/"

    @property
    def flags(self) -> tuple[str, ...]:
        """The daemon's, for builds that fetch from here."""
        return ("--build-destinations", f"any,host:{self.port}")

    @contextmanager
    def serve(self) -> Iterator[None]:
        """Answer requests, on a free port."""
        with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, self)) as server:
            self.port = server.server_port
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            try:
                yield
            finally:
                server.shutdown()
                thread.join()


class _Handler(SimpleHTTPRequestHandler):
    def __init__(self, served: ServedFolder, *arguments: Any) -> None:
        self._served = served
        super().__init__(*arguments, directory=str(served.folder))

    def log_request(self, code: object = "", size: object = "") -> None:
        """Count the packages."""
        answered = {200: self._served.fetched, 304: self._served.unchanged}.get(cast(int, code))
        if answered is not None and self.path.endswith(self._served.suffix):
            answered.append(self.path.rpartition("/")[2])

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""
