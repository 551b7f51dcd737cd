"""Commands of the documentation as they stand there, on a host whose port and store somebody else may have."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.__main__ import MANIFESTS
from demo.daemon import Daemon
from demo.site import BASE_STREAM, Site
from tests.integration.conftest import new_site
from tests.support.apt_repository import Repository
from tests.support.base_tree import closed_command
from tests.support.documented import blocks, typed
from tests.support.live import PROVING, Live
from tests.support.ports import free_port
from tests.support.small_system import SMALL_PACKAGER, small_bootstrap

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
SMALL = '{"SourceImage": "small"}'


def write(path: Path, text: str) -> None:
    """Write a file, with the folders that it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A daemon with the small system."""
    site = new_site(tmp_path_factory.mktemp("documented") / "site")
    site.configure({"small": small_bootstrap(site.folder)}, {}, SMALL_PACKAGER)
    live = Live(site, Daemon(site, *PROVING))
    live.daemon.start()
    yield live
    live.close()


def settings(folder: Path, live: Live) -> None:
    """Have the tool in a home folder ask a daemon, with the certificate of the user who may do everything."""
    certificate, key = live.site.certificate("user")
    lines = {
        "imaginator-hostname": "127.0.0.1",
        "imaginator-port": live.daemon.port,
        "ca-file": live.site.authority,
        "cert-file": certificate,
        "key-file": key,
    }
    write(folder / ".config/builder-tool/flags.default", "".join(f"{name}={value}\n" for name, value in lines.items()))


def test_the_quick_start(tmp_path: Path, debian_tar: Path) -> None:
    """The daemon and the builds that the demonstration has, by hand; its package comes from here."""
    (tmp_path / ".venv").symlink_to(Path(sys.executable).parents[1])
    site = Site(tmp_path / "demo-site")
    site.make_certificates()
    site.make_repository(MANIFESTS)
    repository = Repository(tmp_path / "repository")
    repository.add("tree", {"usr/bin/tree": "#!/bin/sh\n"}, "#!/bin/sh\nchmod +x /usr/bin/tree\n")
    streams = {f"demo/{name}/amd64": site.stream(name) for name in ("hello", "greeter")}
    port = free_port()
    daemon, builds = blocks("quickstart.rst", "What the demonstration does, by hand")
    write(tmp_path / ".config/builder-tool/flags.default", f"imaginator-port={port}\n")
    with repository.serve():
        site.configure({BASE_STREAM: closed_command(debian_tar, repository.source, tmp_path / "bootstrap")}, streams)
        here = " ".join(("--port", str(port), *repository.flags))
        background = f"{daemon.rstrip()} {here} > daemon.log 2>&1 &\ntrap 'kill %1; wait' EXIT\n"
        waiting = "until grep -q 'listening on port' daemon.log; do kill -0 %1; sleep 0.1; done\n"

        said = typed(background + waiting + builds, tmp_path)

    assert "demo/greeter/amd64/20" in said
    assert (tmp_path / "greeter.tar").stat().st_size > 50_000_000


def test_checking_files(live: Live, tmp_path: Path) -> None:
    """Both are right."""
    write(tmp_path / "conf.json", live.site.configuration.read_text())
    write(tmp_path / "path/to/manifest/manifest", SMALL)
    (check, *_) = blocks("configuration.rst")

    typed(check, tmp_path)


def test_builds_without_a_daemon(live: Live, tmp_path: Path) -> None:
    """An image, a tree and a folder that is changed in place; then the list of the store."""
    write(tmp_path / "DIR/manifest", SMALL)
    write(tmp_path / "DIR/files/etc/motd", "hello")
    flags = f"configuration-url={live.site.configuration.as_uri()}\nstate-dir={tmp_path}/store\n"
    write(tmp_path / ".config/builder-tool/flags.default", flags)
    build, listed = blocks("local.rst")
    image, tree, in_place = build.splitlines()

    typed("\n".join([image, tree, "cp -a TREE ROOT", "rm ROOT/etc/motd", in_place]), tmp_path)
    said = typed(listed.replace("/var/lib/builder-tool", str(tmp_path / "store")), tmp_path)

    assert "hello" == (tmp_path / "TREE/etc/motd").read_text() == (tmp_path / "ROOT/etc/motd").read_text()
    assert "STREAM/20" in said


def test_looking_at_a_failed_build(live: Live, tmp_path: Path) -> None:
    """The build fails, as it should; its tree can be looked at."""
    live.build("small")
    live.add_stream("web/front", {"manifest": SMALL, "scripts/fails": "#!/bin/sh\ntouch /was-here\nexit 1\n"})
    settings(tmp_path, live)
    (block,) = blocks("maintenance.rst", "Looking at a build that failed")
    build, shell = block.splitlines()

    typed(build, tmp_path, status=1)
    (found,) = live.call("Imaginator.ListBuilds", StreamName="web/front")["Builds"]
    said = typed(f"{shell.rsplit(maxsplit=1)[0]} {found['BuildId']} ls /was-here", tmp_path)

    assert "/was-here" in said
