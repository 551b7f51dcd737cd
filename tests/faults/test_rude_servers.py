"""Servers that hang, reset, cut off, talk nonsense, send in circles or fail, and a real daemon that needs them."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from demo.daemon import Daemon
from demo.site import Site
from tests.integration.conftest import new_site
from tests.integration.test_bad_input import OVER_SMALL, poll
from tests.support.faulty import Watcher, ended, failure, submit
from tests.support.git_repository import Repository
from tests.support.git_server import serving
from tests.support.live import PROVING, Live
from tests.support.printed import COUNTS
from tests.support.rude_server import RUDE, Manner, RudeServer
from tests.support.served_folder import ServedFolder
from tests.support.small_system import SMALL_PACKAGER, small_bootstrap

pytestmark = pytest.mark.integration

PATIENCE = 180.0
"""Seconds that only a hang exceeds: a server has thirty to answer, and there are two files."""

ERRORS = "The configuration has errors"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A site whose configurations are still to be written."""
    return new_site(tmp_path / "site")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[ServedFolder]:
    """A folder on a good web server."""
    folder = ServedFolder(tmp_path / "www", "")
    with folder.serve():
        yield folder


def page(live: Live, path: str = "") -> str:
    """A page of the daemon's."""
    with urllib.request.urlopen(f"{live.daemon.url}{path}") as answer:
        return str(answer.read().decode())


def streams(*names: str) -> str:
    """A streams configuration, long enough to be cut off."""
    stream = {"ManifestUrl": "dir:///nowhere", "ManifestDirectory": "$IMAGE_STREAM"}
    return json.dumps({"Streams": dict.fromkeys([*names, *(f"filler-{number}" for number in range(9))], stream)})


def settings(site: Site, url: str) -> str:
    """A main configuration that says where the streams are."""
    site.configure({"small": small_bootstrap(site.folder)}, {}, SMALL_PACKAGER)
    fields = json.loads(site.configuration.read_text())
    return json.dumps({**fields, "ImageStreamsUrl": url, "ImageStreamsCheckInterval": 1})


def change(repository: Repository, name: str, version: int) -> None:
    """Commit other streams; a web server tells versions apart by the second."""
    repository.commit({"streams.json": streams(name)})
    later = time.time() + 10 * version
    os.utime(repository.directory / "streams.json", (later, later))


def check_manners(live: Live, server: RudeServer, manners: tuple[Manner, ...], repository: Repository) -> None:
    """Of each manner an error is on the page, with the good copy in force, until the server is good again."""
    known = "first"
    for number, manner in enumerate(manners, 1):
        server.behave(manner)
        change(repository, f"{known}-unseen", 2 * number)  # a server has half an answer only where it has something new
        poll(lambda: ERRORS in page(live), f"the error of {manner}", PATIENCE)
        shown = page(live, "showImageStreams")
        assert (True, False) == (known in shown, "-unseen" in shown)
        known = f"after-{manner.name.lower()}"
        change(repository, known, 2 * number + 1)
        server.behave(Manner.POLITE)
        poll(lambda known=known: known in page(live, "showImageStreams"), "the new streams", PATIENCE)
        poll(lambda: ERRORS not in page(live), "the error to go", PATIENCE)
        COUNTS["rude server of a configuration"] += 1


def test_configurations_over_http(site: Site, folder: ServedFolder) -> None:
    """Both files come from the server; a build of what is known works meanwhile."""
    repository = Repository(folder.folder / "files")
    repository.commit({"streams.json": streams("first")})
    server = RudeServer(folder.port)
    with server.serve() as address:
        place = f"http://{address}/files"
        repository.commit({"conf.json": settings(site, f"{place}/streams.json")})
        live = Live(site, Daemon(site, *PROVING, "--configuration-url", f"{place}/conf.json"))
        live.daemon.start()
        with Watcher(live.daemon.url):
            check_manners(live, server, RUDE, repository)
            server.behave(Manner.RESETS)
            assert "succeeded" == live.build("small")["State"]
            server.behave(Manner.POLITE)
        live.close()


def test_streams_held_in_git(site: Site, tmp_path: Path) -> None:
    """The streams come out of a repository, whose mirror is none the worse for it."""
    repository = Repository(tmp_path / "repository")
    repository.commit({"streams.json": streams("first")})
    with serving(tmp_path) as good:
        server = RudeServer(int(good.partition(":")[2]))
        with server.serve() as address:
            text = settings(site, f"http://{address}/at/repository/.git/streams.json")
            site.configuration.write_text(text)
            live = Live(site, Daemon(site, *PROVING))
            live.daemon.start()
            with Watcher(live.daemon.url):
                check_manners(live, server, tuple(set(RUDE) - {Manner.HANGS}), repository)
            live.close()


@pytest.fixture
def live(site: Site) -> Iterator[Live]:
    """A daemon with room for a build of each manner."""
    site.configure({"small": small_bootstrap(site.folder)}, {}, SMALL_PACKAGER)
    wide = ("--maximum-concurrent-builds", "8", "--maximum-concurrent-builds-per-user", "8")
    live = Live(site, Daemon(site, *PROVING, *wide))
    live.daemon.start()
    live.build("small")
    with Watcher(live.daemon.url):
        yield live
    live.close()


def test_manifests(live: Live) -> None:
    """A build tells of each try and fails with the reason, one that waits can be cancelled; later all is well."""
    live.add_stream("repository", {"manifest": OVER_SMALL})
    with ExitStack() as stack:
        good = int(stack.enter_context(serving(live.site.folder)).partition(":")[2])
        servers = {manner: RudeServer(good) for manner in RUDE}
        for manner, server in servers.items():
            url = f"http://{stack.enter_context(server.serve())}/at/repository/.git"
            live.add_stream(manner.name, {}, ManifestUrl=url, ManifestDirectory="repository")
            server.behave(manner)
        builds = {manner: submit(live, manner.name) for manner in RUDE}
        hanging = builds.pop(Manner.HANGS)
        for build in builds.values():
            code, sentence = failure(live, build)
            assert (-32005, True) == (code, "git ls-remote: exit status 128" in sentence)
            assert [f"trying again in {delay} s" in live.log(build) for delay in (1, 3, 9)] == [True] * 3
            COUNTS["rude Git server"] += 1
        poll(lambda: servers[Manner.HANGS].heard, "the server to be asked")
        live.call("Imaginator.CancelBuild", BuildId=hanging)
        assert "cancelled" == ended(live, hanging)["State"]
        for manner, server in servers.items():
            server.behave(Manner.POLITE)
            assert "succeeded" == live.build(manner.name)["State"]


def test_a_pack_that_is_cut_off(live: Live) -> None:
    """The build fails, the mirror holds what it held, and the next build has it all."""
    name = "pack"
    with serving(live.site.folder) as good:
        server = RudeServer(int(good.partition(":")[2]), cut=20_000)
        with server.serve() as address:
            url = f"http://{address}/at/repository/.git"
            live.add_stream(
                name, {"manifest": OVER_SMALL, "files/etc/large": secrets.token_hex(100_000)}, ManifestUrl=url
            )
            first = live.build(name)
            live.add_stream(
                name, {"manifest": OVER_SMALL, "files/etc/large": secrets.token_hex(100_000)}, ManifestUrl=url
            )
            server.behave(Manner.HALF)
            build = submit(live, name)
            code, sentence = failure(live, build)
            cut = server.heard
            mirrors = [path for path in (live.site.state / "sources").glob("*.git") if (path / "HEAD").exists()]
            checks = [
                subprocess.run(["git", "-C", path, "fsck", "--connectivity-only"], check=False) for path in mirrors
            ]
            server.behave(Manner.POLITE)
            second = live.build(name)

    assert (-32005, True) == (code, "git fetch: " in sentence)
    assert cut
    assert mirrors
    assert [0] * len(mirrors) == [check.returncode for check in checks]
    assert first["ImageName"] != second["ImageName"]
