"""The main job: a Debian image from a manifest in Git, asked for, followed, fetched and run."""

from __future__ import annotations

import json
import subprocess
import tarfile
import urllib.request
from pathlib import Path

import pytest

from demo.site import ARCH, BASE_STREAM
from tests.support.live import Live

STREAM = f"demo/hello/{ARCH}"

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def hello(debian: Live) -> str:
    """The name of a hello image, built over a bootstrap that was missing."""
    return debian.tool("build-image", "--max-source-age", "1h", STREAM).stdout.strip()


def test_build_prints_the_image_name_alone(hello: str) -> None:
    """Standard output is the result and nothing else."""
    assert hello.startswith(f"{STREAM}/20")
    assert "\n" not in hello


def test_missing_source_is_built_first(debian: Live, hello: str) -> None:
    """The bootstrap stream has an image, and the stream's image names it."""
    image = debian.call("ImageServer.GetImage", ImageName=hello)

    assert debian.images(BASE_STREAM) == [image["Origin"]["SourceImage"]]


def test_image_says_what_it_is(debian: Live, hello: str) -> None:
    """Packages, commit and caller are part of the image."""
    image = json.loads(debian.tool("show-image", "--json", hello).stdout)
    packages = {package["Name"]: package for package in image["Packages"]}

    assert {"tree", "apt", "dpkg"} <= set(packages)
    assert packages["dpkg"]["Size"] > 1_000_000
    assert "user" == image["Origin"]["CreatedFor"]
    assert 40 == len(image["Origin"]["GitCommitId"])


def test_fetched_directory_runs(debian: Live, hello: str, tmp_path: Path) -> None:
    """A program of the fetched image runs in a chroot, and left-out paths are not there."""
    root = tmp_path / "root"
    debian.tool("get-image", hello, "-o", str(root))
    said = subprocess.run(["chroot", root, "hello"], check=True, capture_output=True, text=True).stdout

    assert f"hello from {STREAM}\n" == said
    assert [] == list((root / "var/log").iterdir())
    assert "" == (root / "etc/resolv.conf").read_text()


def test_fetched_tar_is_the_same_every_time(debian: Live, hello: str, tmp_path: Path) -> None:
    """The archive of one image has one form, with its owners and modes."""
    first, second = tmp_path / "first.tar", tmp_path / "second.tar"
    debian.tool("get-image", hello, "-o", str(first))
    debian.tool("get-image", hello, "-o", str(second))
    with tarfile.open(first) as archive:
        members = {member.name.removeprefix("./"): member for member in archive.getmembers()}
        shadow, su = members["etc/shadow"], members["usr/bin/su"]

    assert first.read_bytes() == second.read_bytes()
    assert ("root", 0o640, 42) == ("root", shadow.mode, shadow.gid)
    assert 0o4755 == su.mode


def test_second_build_over_the_same_source_stores_only_what_is_new(debian: Live, hello: str) -> None:
    """A stream over the image adds one file: one object at most is new."""
    record = debian.build(f"demo/greeter/{ARCH}")
    image = debian.call("ImageServer.GetImage", ImageName=record["ImageName"])

    assert hello == image["Origin"]["SourceImage"]
    assert image["Figures"]["ObjectsNew"] <= 2


def test_status_page_and_health(debian: Live, hello: str) -> None:
    """Plain HTTP shows the finished build; the health check is content."""
    page = urllib.request.urlopen(debian.daemon.url).read().decode()
    health = urllib.request.urlopen(debian.daemon.url + "healthz").read()

    assert hello in page
    assert b"ok" == health.strip()


def test_last_build_log_is_kept(debian: Live, hello: str) -> None:
    """The log of the finished build names its steps and ends with its figures."""
    log = urllib.request.urlopen(debian.daemon.url + f"showLastBuildLog?{STREAM}").read().decode()

    assert "making hello for" in log
    assert "objects" in log
