"""Automatic rebuilds of a real daemon over a real Debian: what has changed is built, and told; the rest is extended."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.daemon import Daemon
from demo.site import Site, replace
from tests.integration.conftest import new_site
from tests.support.apt_repository import Repository
from tests.support.base_tree import closed_command
from tests.support.live import PROVING, Live

pytestmark = pytest.mark.integration

BASE = "base"
UNCHANGED = "extended: nothing has changed"
PLAIN, LISTED, OWN = "plain", "listed", "own"


def verdict(live: Live, name: str) -> str:
    """What a stream's page says of the last cycle."""
    with live.client() as client, client.stream(f"/showImageStream?{name}") as body:
        page = body.read().decode()
    words = page.partition("<h2>Automatic rebuild</h2>")[2].partition("<p>")[2].partition(", <time")[0]
    return words.rpartition("</span> ")[2]


class Renewal:
    """A daemon whose automatic rebuilds are started by hand."""

    def __init__(self, live: Live, repository: Repository) -> None:
        self.live = live
        self.repository = repository

    def cycle(self) -> dict[str, str]:
        """One cycle; what it made of each stream, as the stream's page tells."""
        self.live.call("Imaginator.StartAutoBuilds", WaitToStart=True, WaitForComplete=True)
        return {name: verdict(self.live, name) for name in (BASE, PLAIN, LISTED, OWN)}

    def add_probe(self, version: str, name: str = "probe") -> None:
        """Put a version of a package into the repository."""
        self.repository.add(name, {f"usr/share/{name}/said": version}, version=version)

    def latest(self, stream: str) -> dict[str, Any]:
        """A stream's latest image."""
        name = self.live.call("ImageServer.FindLatestImage", StreamName=stream)["ImageName"]
        image: dict[str, Any] = self.live.call("ImageServer.GetImage", ImageName=name)
        return image


def configure(site: Site, debian_tar: Path, repository: Repository) -> None:
    """A Debian that knows one repository alone, and three streams over it."""
    bootstrap = closed_command(debian_tar, repository.source, site.folder / "bootstrap")
    listed = [PLAIN, LISTED, OWN]
    site.configure({BASE: bootstrap}, {}, ImageStreamsToAutoRebuild=listed)


@pytest.fixture
def renewal(tmp_path: Path, debian_tar: Path) -> Iterator[Renewal]:
    """All streams built once."""
    site = new_site(tmp_path / "site")
    repository = Repository(tmp_path / "repository")
    repository.add("probe", {"usr/share/probe/said": "1.0"})
    with repository.serve():
        configure(site, debian_tar, repository)
        live = Live(site, Daemon(site, *PROVING, *repository.flags, "--image-rebuild-interval", "0"))
        live.daemon.start()
        try:
            source = json.dumps({"SourceImage": BASE})
            live.add_stream(PLAIN, {"manifest": source, "files/etc/motd": "hello\n"})
            live.add_stream(LISTED, {"manifest": source, "package-list": "probe\n"})
            live.add_stream(
                OWN, {"manifest": source, "package-list": "probe\n", "files/etc/apt/apt.conf.d/50own": "// own\n"}
            )
            renewal = Renewal(live, repository)
            assert dict.fromkeys((BASE, PLAIN, LISTED, OWN), "built: there is no image yet") == renewal.cycle()
            yield renewal
        finally:
            live.close()


def test_only_what_has_changed_is_built(renewal: Renewal) -> None:
    """Nothing; a commit elsewhere; a manifest; an unrelated package; a listed one; and what lies over a new base."""
    live = renewal.live
    before = {name: renewal.latest(name)["Name"] for name in (BASE, PLAIN, LISTED, OWN)}
    assert dict.fromkeys(before, UNCHANGED) == renewal.cycle()

    (live.site.repository / "README").write_text("elsewhere\n")
    live.site.commit("elsewhere")
    assert dict.fromkeys(before, UNCHANGED) == renewal.cycle()

    renewal.add_probe("1.0", "unrelated")
    assert dict.fromkeys(before, UNCHANGED) == renewal.cycle()
    assert before == {name: renewal.latest(name)["Name"] for name in before}

    (live.site.repository / PLAIN / "files/etc/motd").write_text("hello again\n")
    live.site.commit("another greeting")
    told = renewal.cycle()
    assert told.pop(PLAIN).startswith("built: manifest changed: ")
    assert dict.fromkeys((BASE, LISTED, OWN), UNCHANGED) == told

    renewal.add_probe("1.1")
    packages = "built: packages: probe 1.0 → 1.1"
    assert {BASE: UNCHANGED, PLAIN: UNCHANGED, LISTED: packages, OWN: packages} == renewal.cycle()
    versions = {package["Name"]: package["Version"] for package in renewal.latest(LISTED)["Packages"]}
    assert "1.1" == versions["probe"]
    assert dict.fromkeys(before, UNCHANGED) == renewal.cycle()


def check_without_mirror(renewal: Renewal) -> None:
    """Nobody knows what it has: nothing is taken for current, and what cannot be built lives on."""
    (renewal.repository.folder / "Packages").rename(renewal.repository.folder / "gone")
    told = renewal.cycle()

    assert UNCHANGED == told[PLAIN] or told[PLAIN].startswith("built: source image")
    assert UNCHANGED not in (told[BASE], told[LISTED], told[OWN])
    assert "apt-get" in told[LISTED] or "package update" in told[LISTED]


def test_a_new_base_other_definitions_and_no_mirror(renewal: Renewal) -> None:
    """The base is built for its command, and all streams for their source image; then each for what it is told.

    In the end the mirror is gone, over what has been built anyway: another daemon would cost as much as the outage.
    """
    live = renewal.live
    settings = json.loads(live.site.configuration.read_text())
    settings["BootstrapStreams"][BASE]["FilterLines"] = ["/nothing/.*"]
    replace(live.site.configuration, json.dumps(settings))
    told = renewal.cycle()
    for _ in range(100):  # the configuration is looked at every second or two
        if told[BASE] != UNCHANGED:
            break
        told = renewal.cycle()

    assert "built: configuration: FilterLines changed" == told.pop(BASE)
    assert {} == {name: words for name, words in told.items() if not words.startswith(f"built: source image: {BASE}/")}
    (live.site.folder / "bootstrap").touch()
    assert "built: configuration: a file of BootstrapCommand changed" == renewal.cycle()[BASE]
    record = live.call("Imaginator.ListBuilds", StreamName=PLAIN)["Builds"][0]
    assert record["Reason"].startswith("source image: ")
    assert live.log(record["BuildId"]).startswith("built automatically: source image: ")
    check_without_mirror(renewal)
