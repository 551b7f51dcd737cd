"""A small repository of Debian packages on the loopback address, which counts what is fetched from it."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from imaginator.sandbox.firewall import HOST_IPV4

CONTROL = """Package: {name}
Version: 1.0
Architecture: all
Maintainer: nobody <nobody@localhost>
Description: for tests
"""


class Repository:
    """Packages in ``folder``; ``fetched`` lists the names of those that were sent, in that order."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fetched: list[str] = []
        self.port = 0
        folder.mkdir()

    @property
    def source(self) -> str:
        """The line of sources.list(5) for builds, which see the repository where `flags` open it."""
        return self._source(HOST_IPV4)

    @property
    def local_source(self) -> str:
        """The same for a program of this host."""
        return self._source("127.0.0.1")

    def _source(self, address: str) -> str:
        return f"deb [trusted=yes] http://{address}:{self.port}/ ./\n"

    @property
    def flags(self) -> tuple[str, ...]:
        """The daemon's, for builds that fetch from here."""
        return ("--build-destinations", f"any,host:{self.port}")

    def add(self, name: str, files: dict[str, str], postinst: str = "") -> Path:
        """Put a package of these files (path → text) into the repository; its file."""
        return self.publish(make_package(self.folder, name, files, postinst))

    def publish(self, package: Path) -> Path:
        """Offer a package's file, wherever it lies now; where it lies then."""
        target = self.folder / package.name
        if package != target:
            shutil.copy(package, target)
        data = target.read_bytes()
        control = subprocess.run(["dpkg-deb", "--field", target], check=True, capture_output=True, text=True).stdout
        digest = hashlib.sha256(data).hexdigest()
        with (self.folder / "Packages").open("a") as index:
            index.write(f"{control}Filename: ./{package.name}\nSize: {len(data)}\nSHA256: {digest}\n\n")
        return target

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
    def __init__(self, repository: Repository, *arguments: Any) -> None:
        self._repository = repository
        super().__init__(*arguments, directory=str(repository.folder))

    def log_request(self, code: object = "", size: object = "") -> None:
        """Count the packages."""
        if self.path.endswith(".deb") and code == 200:
            self._repository.fetched.append(self.path.rpartition("/")[2])

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


def make_package(folder: Path, name: str, files: dict[str, str], postinst: str = "") -> Path:
    """Make a package's file in ``folder``, not compressed: texts of equal length make files of equal length."""
    tree = folder / f"{name}.tree"
    for path, text in {"DEBIAN/control": CONTROL.format(name=name), **files}.items():
        target = tree / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    if postinst:
        (tree / "DEBIAN/postinst").write_text(postinst)
        (tree / "DEBIAN/postinst").chmod(0o755)
    package = folder / f"{name}_1.0_all.deb"
    argv = ["dpkg-deb", "--root-owner-group", "-Znone", "--build", str(tree), str(package)]
    subprocess.run(argv, check=True, capture_output=True)
    shutil.rmtree(tree)
    return package
