"""Clients that no one here wrote: each asks for a build, follows it and fetches the image, from a real daemon."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.daemon import Daemon
from tests.integration.conftest import new_site
from tests.integration.test_bad_input import OVER_SMALL
from tests.support.live import PROVING, Live
from tests.support.node import node_modules
from tests.support.small_system import SMALL_PACKAGER, small_bootstrap

pytestmark = pytest.mark.integration

HERE = Path(__file__).parent
UNKNOWN_STREAM = -32003
SCRIPT = "#!/bin/sh\nsleep 1\necho made for somebody\n"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A daemon with one stream."""
    site = new_site(tmp_path_factory.mktemp("clients") / "site")
    site.configure({"small": small_bootstrap(site.folder)}, {}, SMALL_PACKAGER)
    live = Live(site, Daemon(site, *PROVING))
    live.daemon.start()
    live.add_stream("hello", {"manifest": OVER_SMALL, "files/etc/hello": "hello\n", "scripts/slow": SCRIPT})
    yield live
    live.close()


@pytest.fixture(scope="module")
def modules() -> Path:
    """The clients from npm."""
    return node_modules()


def settings(live: Live, output: Path) -> dict[str, object]:
    """What a client has to know."""
    certificate, key = live.site.certificate("user")
    return {
        "port": live.daemon.port,
        "authority": str(live.site.authority),
        "certificate": str(certificate),
        "key": str(key),
        "stream": "hello",
        "output": str(output),
    }


def check(live: Live, command: list[str], output: Path) -> None:
    """Run a client; it learns of an error's code, reads the log, and has the image."""
    said = json.loads(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout)
    with tarfile.open(output) as archive:
        content = archive.extractfile("./etc/hello")
        assert content is not None
        assert b"hello\n" == content.read()

    assert UNKNOWN_STREAM == said["code"]
    assert "made for somebody" in said["log"]
    assert said["image"] in live.images("hello")


@pytest.mark.parametrize("library", ["xmlrpc", "jsonrpclib"])
def test_python(live: Live, tmp_path: Path, library: str) -> None:
    """The standard library's XML-RPC, and a JSON-RPC library from PyPI."""
    text = json.dumps(settings(live, tmp_path / "image.tar"))
    check(live, [sys.executable, str(HERE / "python_clients.py"), library, text], tmp_path / "image.tar")


@pytest.mark.parametrize("library", ["xmlrpc", "jayson"])
def test_node(live: Live, modules: Path, tmp_path: Path, library: str) -> None:
    """XML-RPC and JSON-RPC libraries from npm."""
    text = json.dumps(settings(live, tmp_path / "image.tar"))
    check(live, ["node", str(HERE / "node_clients.js"), str(modules), library, text], tmp_path / "image.tar")


def test_curl(live: Live, tmp_path: Path) -> None:
    """Curl, from a shell script."""
    certificate, key = live.site.certificate("user")
    url = f"https://localhost:{live.daemon.port}"
    paths = (live.site.authority, certificate, key)
    command = [str(HERE / "curl_client.sh"), url, *map(str, paths), "hello", str(tmp_path / "image.tar")]
    check(live, command, tmp_path / "image.tar")
