"""A distribution of RPM packages: bootstrapped by dnf, built upon by its own dnf, with the sample for Rocky Linux."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.daemon import Daemon
from tests.integration.conftest import new_site
from tests.support.live import PROVING, Live
from tests.support.rpm_repository import RpmRepository
from tests.support.samples import install

PROVIDED = ("glibc-minimal-langpack", "rocky-release", "system-release(releasever) = 9")
"""What the sample installs, and what tells dnf in an image the release."""

SPARE = "/usr/share/spare/zeros"

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RpmRepository]:
    """A distribution that has what the sample installs."""
    folder = tmp_path_factory.mktemp("rpm")
    repository = RpmRepository(folder / "repository", folder / "scratch", PROVIDED)
    with repository.serve():
        yield repository


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, repository: RpmRepository) -> Iterator[Live]:
    """A daemon with the sample, whose repositories alone are ours."""
    site = new_site(tmp_path_factory.mktemp("site"))
    stream, folder = install(site, "rocky-9")
    (folder / "rocky-9" / "dnf.conf").write_text(f"[main]\nreposdir=/nonexistent\n{repository.local_source}")
    live = Live(site, Daemon(site, *PROVING, *repository.flags))
    live.bootstraps = {stream: []}
    live.daemon.start()
    yield live
    live.close()


@pytest.fixture(scope="module")
def image(live: Live, repository: RpmRepository) -> dict[str, Any]:
    """An image over the bootstrap's, with two applications of which a script removes one."""
    (source,) = live.bootstraps
    manifest = {
        "manifest": f'{{"SourceImage": "{source}"}}',
        "files/etc/yum.repos.d/own.repo": repository.source,
        "package-list": "greeter\nspare\n",
        "scripts/1": f"test -s {SPARE} || exit 7\ngeneric-packager remove spare\ntest ! -e {SPARE}\n",
        "scripts/2": "generic-packager list > /etc/listed\ngreeter > /etc/greeted-by-hand\n",
        "tests/greets": '#!/bin/sh\ntest "$(greeter)" = hello\n',
    }
    build = live.build(live.add_stream("app", manifest))
    answer: dict[str, Any] = live.call("ImageServer.GetImage", ImageName=build["ImageName"])
    return {**answer, "Log": live.log(build["BuildId"])}


def packages(image: dict[str, Any]) -> dict[str, tuple[str, int]]:
    """Versions and sizes by name."""
    return {package["Name"]: (package["Version"], package["Size"]) for package in image["Packages"]}


def test_the_sample_bootstraps(live: Live, image: dict[str, Any]) -> None:
    """The bootstrap image has the distribution's packages, listed by its own rpm."""
    (source,) = live.bootstraps
    (name,) = live.images(source)

    found = packages(live.call("ImageServer.GetImage", ImageName=name))

    assert {"busybox", "dnf", "filesystem"} == set(found)
    assert {"1.0-1"} == {version for version, _ in found.values()}
    assert 50_000_000 < found["dnf"][1]


def test_packages_come_and_go(image: dict[str, Any]) -> None:
    """The image lists what was asked for and what it needs, with epoch, release and size, and not what was removed."""
    found = packages(image)

    assert {"busybox", "dnf", "filesystem", "greeter", "words"} == set(found)
    assert ("1.0-1", len("hello\n")) == found["words"]
    assert "2:1.5-1" == found["greeter"][0]


def test_scripts_of_packages_run(live: Live, image: dict[str, Any], tmp_path: Path) -> None:
    """After what they need is there; and the packager leaves nothing of its own."""
    tree = tmp_path / "tree"
    live.tool("get-image", image["Name"], "-o", str(tree))

    assert "hello\n" == (tree / "etc/greeting").read_text() == (tree / "etc/greeted-by-hand").read_text()
    assert "greeter 2:1.5-1" in (tree / "etc/listed").read_text()
    assert [] == list((tree / "var/cache/dnf").glob("*"))
    assert [] == list((tree / "var/log").glob("*.log"))
    assert not (tree / "usr/share/spare").exists()


def test_what_it_needs_is_downloaded_once(image: dict[str, Any], repository: RpmRepository) -> None:
    """Through the network of the build, from a port of the host's loopback that was opened for it."""
    assert ["greeter-1.5-1.x86_64.rpm", "spare-1.0-1.x86_64.rpm", "words-1.0-1.x86_64.rpm"] == sorted(
        repository.fetched
    )
