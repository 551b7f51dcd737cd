"""Real daemons: one over a small system for most tests, one over Debian for the main job."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.daemon import Daemon
from demo.site import ARCH, BASE_STREAM, Site
from tests.support.base_tree import base_tar, unpack_command
from tests.support.live import PROVING, Live
from tests.support.small_system import SMALL_PACKAGER, small_bootstrap

MANIFESTS = Path(__file__).parents[2] / "demo" / "manifests"


def new_site(folder: Path) -> Site:
    """A site with certificates and an empty repository."""
    site = Site(folder)
    site.make_certificates()
    (folder / "manifests").mkdir()
    site.make_repository(folder / "manifests")
    return site


@pytest.fixture(scope="session")
def silent_port() -> Iterator[int]:
    """A port of this host's loopback where somebody listens, and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        yield silent.getsockname()[1]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, silent_port: int) -> Iterator[Live]:
    """A daemon whose only bootstrap stream is a busybox; its builds reach one port of this host, and nothing else."""
    site = new_site(tmp_path_factory.mktemp("small"))
    live = Live(site, Daemon(site, *PROVING, "--build-destinations", f"host:{silent_port}"))
    site.configure({"small": small_bootstrap(site.folder), **live.bootstraps}, {}, SMALL_PACKAGER)
    live.daemon.start()
    yield live
    live.close()


@pytest.fixture(scope="session")
def debian_tar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree of a minimal Debian that everything shares, as a tar file."""
    return base_tar(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory, debian_tar: Path) -> Iterator[Live]:
    """A daemon with the demonstration's manifests over a real Debian."""
    site = Site(tmp_path_factory.mktemp("debian") / "site")
    site.make_certificates()
    site.make_repository(MANIFESTS)
    site.configure(
        {BASE_STREAM: unpack_command(debian_tar)},
        {f"demo/{name}/{ARCH}": site.stream(name) for name in ("hello", "greeter")},
    )
    live = Live(site, Daemon(site, *PROVING, "--build-log-dir", str(site.folder / "build-logs")))
    live.daemon.start()
    yield live
    live.close()
