"""Packages of a real Debian, fetched by its own apt from a repository that counts."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from demo.daemon import Daemon
from demo.site import BASE_STREAM, SAMPLE
from tests.integration.conftest import new_site
from tests.support.apt_repository import Repository, make_package
from tests.support.base_tree import base_tar, unpack_command
from tests.support.live import PROVING, Live
from tests.support.samples import SAMPLES

PROBE = "probe_1.0_all.deb"

pytestmark = pytest.mark.integration


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    """A repository whose package ``probe`` says what is right."""
    repository = Repository(tmp_path / "repository")
    repository.add("probe", {"usr/share/probe/said": "right"})
    with repository.serve():
        yield repository


@contextmanager
def running(folder: Path, debian_tar: Path, repository: Repository) -> Iterator[Live]:
    """A daemon over a real Debian with the packager type of the shipped sample."""
    site = new_site(folder)
    site.configure({BASE_STREAM: unpack_command(debian_tar)}, {})
    live = Live(site, Daemon(site, *PROVING, *repository.flags))
    live.daemon.start()
    yield live
    live.close()


@pytest.fixture
def live(tmp_path: Path, debian_tar: Path, repository: Repository) -> Iterator[Live]:
    """A daemon over Debian 12."""
    with running(tmp_path / "site", debian_tar, repository) as live:
        yield live


def add(live: Live, repository: Repository, *packages: str, **more: str) -> str:
    """A stream that installs packages from the repository alone; ``more`` are scripts by their names."""
    manifest = {
        "manifest": f'{{"SourceImage": "{BASE_STREAM}"}}',
        "files/etc/apt/apt.conf.d/99direct": 'Acquire::http::Proxy "DIRECT";\n',
        "files/etc/apt/sources.list": repository.source,
        "pre-install-scripts/1": "#!/bin/sh\nrm -rf /etc/apt/sources.list.d\n",
        "package-list": "".join(f"{package}\n" for package in packages),
        **{f"scripts/{name}": text for name, text in more.items()},
        "tests/hears-the-verbatim-lines": '#!/bin/sh\ntest "$DEBIAN_FRONTEND" = noninteractive\n',
    }
    return live.add_stream(f"over/{packages[0]}", manifest)


def unpacked(live: Live, image: str, folder: Path) -> Path:
    """The tree of an image."""
    live.tool("get-image", image, "-o", str(folder))
    return folder


def said(tree: Path) -> str:
    """What the installed package says."""
    return (tree / "usr/share/probe/said").read_text()


@pytest.mark.parametrize("sample", ["debian-12", "debian-13"])
def test_packages_come_and_go(tmp_path: Path, repository: Repository, sample: str) -> None:
    """On both Debians: installed, listed with sizes, removed by a script without ``#!``, and cleaned up after."""
    path = SAMPLE if sample == "debian-12" else SAMPLES / f"{sample}.json"
    repository.add("spare", {"usr/share/spare/zeros": "0" * 5000}, "#!/bin/sh\necho $DEBIAN_FRONTEND > /etc/heard\n")
    remove = "test -s /usr/share/spare/zeros && generic-packager remove spare && echo $DEBIAN_FRONTEND >> /etc/heard\n"
    use = "ls /var/lib/apt/lists/*Packages* && touch /var/cache/apt/pkgcache.bin /var/cache/apt/kept\n"
    with running(tmp_path / "site", base_tar(tmp_path, sample=path), repository) as live:
        name = live.build(add(live, repository, "probe", "spare", remove=remove, use=use))["ImageName"]
        image = live.call("ImageServer.GetImage", ImageName=name)
        tree = unpacked(live, name, tmp_path / "tree")

    found = {package["Name"]: (package["Version"], package["Size"]) for package in image["Packages"]}
    assert ("1.0", 7 << 10) == found["probe"]
    assert found["apt"][1] > 1 << 20
    assert "spare" not in found
    assert "noninteractive\nnoninteractive\n" == (tree / "etc/heard").read_text()
    assert not (tree / "usr/share/spare").exists()
    assert ["kept"] == [path.name for path in (tree / "var/cache/apt").iterdir() if path.is_file()]
    assert [] == list((tree / "var/lib/apt/lists").iterdir())


def test_a_rebuilt_source_needs_no_second_download(live: Live, repository: Repository, tmp_path: Path) -> None:
    """The second build, over another source image, installs what the first one downloaded; no image holds it."""
    stream = add(live, repository, "probe")

    first = live.build(stream)
    live.build(BASE_STREAM)
    second = live.build(stream)

    tree = unpacked(live, second["ImageName"], tmp_path / "tree")
    sources = [
        live.call("ImageServer.GetImage", ImageName=build["ImageName"])["Origin"]["SourceImage"]
        for build in (first, second)
    ]
    assert 2 == len(set(sources))
    assert [PROBE] == repository.fetched
    assert "right" == said(tree)
    assert [] == list(tree.rglob("*.deb"))
    assert "package cache: 1 files used, 0 new" in live.log(second["BuildId"])


def test_a_poisoned_package_is_not_installed(live: Live, repository: Repository, tmp_path: Path) -> None:
    """A build puts a wrong file of the right name and size into the cache: apt notices, and the cache is mended."""
    (tmp_path / "evil").mkdir()
    evil = make_package(tmp_path / "evil", "probe", {"usr/share/probe/said": "wrong"})
    encoded = subprocess.run(["base64", "-w0", evil], check=True, capture_output=True, text=True).stdout
    place = f"/var/cache/apt/archives/{PROBE}"
    repository.add("mallory", {}, f"#!/bin/sh\nbase64 -d > {place} <<end\n{encoded}\nend\n")
    cached = live.site.state / "packages" / "native" / PROBE
    probe, mallory = add(live, repository, "probe"), add(live, repository, "mallory")

    live.build(mallory)
    assert evil.read_bytes() == cached.read_bytes()
    images = [live.build(probe)["ImageName"] for _ in range(2)]

    trees = [unpacked(live, image, tmp_path / f"tree{number}") for number, image in enumerate(images)]
    assert ["right", "right"] == [said(tree) for tree in trees]
    assert ["mallory_1.0_all.deb", PROBE] == repository.fetched
    assert evil.stat().st_size == cached.stat().st_size
    assert (repository.folder / PROBE).read_bytes() == cached.read_bytes()
