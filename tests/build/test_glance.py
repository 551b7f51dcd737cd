"""A glance at a plain manifest sees what a build would read, and knows when it is another one."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import pytest_twisted

from imaginator.build.glance import NO_VERSION, SETTLED, Glances, Version, is_version, manifest_path
from imaginator.build.manifests import load_manifest
from imaginator.build.sources import SourceLocation, Sources, relative_directory
from imaginator.model.errors import ConfigurationError
from imaginator.model.manifest import decode_source_image
from imaginator.model.redaction import Redactor
from tests.support.real_reactor import reactor

PLAIN = Redactor({})
GOOD = '{"SourceImage": "base"}'
Layout = Callable[[Path], object]


def at(top: Path, directory: str = "web") -> SourceLocation:
    """A location of a plain directory, as it is written."""
    return SourceLocation(f"dir://{top}", f"dir://{top}", directory)


def glance(location: SourceLocation) -> tuple[bytes, Version]:
    """What is seen at a location."""
    with Glances(PLAIN) as glances:
        return glances.read(location._replace(directory=relative_directory(location)))


def seen(location: SourceLocation) -> str:
    """The source that is seen, or the sentence."""
    where = f"{location.shown}/{location.directory}".rstrip("/")
    try:
        return decode_source_image(glance(location)[0], f"{where}/manifest")
    except ConfigurationError as error:
        return str(error)


async def built(location: SourceLocation) -> str:
    """The source that a build has, or the sentence."""
    where = f"{location.shown}/{location.directory}".rstrip("/")
    try:
        checkout = await Sources(reactor, Path("/nonexistent")).fetch(location, Path("/nonexistent"), PLAIN)
        return load_manifest(checkout.directory, where).file.source_image
    except ConfigurationError as error:
        return str(error)


def write(path: Path, text: str = GOOD) -> Path:
    """A file, in a directory that is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def link(path: Path, target: str) -> Path:
    """A symbolic link, in a directory that is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)
    return path


LAYOUTS: dict[str, Layout] = {
    "a file": lambda top: write(top / "web/manifest"),
    "nothing": lambda top: top.mkdir(),
    "no top": lambda top: None,
    "no file": lambda top: (top / "web").mkdir(parents=True),
    "a directory": lambda top: (top / "web/manifest").mkdir(parents=True),
    "a fifo": lambda top: os.mkfifo(write(top / "web/x").with_name("manifest")),
    "a large file": lambda top: write(top / "web/manifest", " " * (10 << 20)),
    "an empty file": lambda top: write(top / "web/manifest", ""),
    "no JSON": lambda top: write(top / "web/manifest", '{"SourceImage": oops}'),
    "no source": lambda top: write(top / "web/manifest", '{"FilterLines": []}'),
    "a file in its place": lambda top: write(top / "web"),
    "a link beside": lambda top: (write(top / "web/real"), link(top / "web/manifest", "real")),
    "a link below": lambda top: (write(top / "web/below/real"), link(top / "web/manifest", "below/real")),
    "a link that leaves": lambda top: (write(top / "other/manifest"), link(top / "web/manifest", "../other/manifest")),
    "a link to nothing": lambda top: link(top / "web/manifest", "nothing"),
    "a link to itself": lambda top: link(top / "web/manifest", "manifest"),
    "a linked directory": lambda top: (write(top / "other/manifest"), link(top / "web", "other")),
    "a directory linked from outside": lambda top: (
        write(top.parent / "outside/manifest"), link(top / "web", "../outside"),
    ),
    "a linked top": lambda top: (write(top.parent / "real/web/manifest"), link(top, "real")),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest_twisted.ensureDeferred
async def test_like_a_build(layout: Layout, tmp_path: Path) -> None:
    """The same source, or the same sentence."""
    top = tmp_path / "top"
    layout(top)

    assert await built(at(top)) == seen(at(top))
    assert await built(at(top / "web", "")) == seen(at(top / "web", ""))


@pytest.mark.parametrize("directory", ["", "web", "./web//", "/web", "../top/web", "web/\n"])
@pytest_twisted.ensureDeferred
async def test_like_a_build_wherever_it_is_written(directory: str, tmp_path: Path) -> None:
    """However the directory is spelled."""
    write(tmp_path / "top/web/manifest")
    try:
        found = seen(at(tmp_path / "top", directory))
    except ConfigurationError as error:
        found = str(error)

    assert await built(at(tmp_path / "top", directory)) == found


def test_a_relative_top_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon's own directory is nobody's."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "manifest")

    assert "dir://.: expected dir:///PATH" == seen(SourceLocation("dir://.", "dir://."))


def settled(top: Path) -> Version:
    """The version of a file that was not changed a moment ago."""
    while (version := glance(at(top))[1]) == NO_VERSION:
        time.sleep(SETTLED / 1e9 / 10)
    return version


def test_versions(tmp_path: Path) -> None:
    """A file that is touched, written again or replaced has another version; one that was only read has not."""
    manifest = tmp_path / "web/manifest"
    write(manifest)
    version = settled(tmp_path)
    path = manifest_path(at(tmp_path))
    manifest.read_text()
    same = is_version(path, version)
    manifest.write_text(GOOD.replace("base", "core"))
    written = is_version(path, version)
    version = settled(tmp_path)
    write(tmp_path / "web/other")
    (tmp_path / "web/other").replace(manifest)
    replaced = is_version(path, version)
    manifest.unlink()

    assert (True, False, False, False) == (same, written, replaced, is_version(path, version))


def test_a_file_of_this_moment_has_no_version(tmp_path: Path) -> None:
    """It might be written once more without looking different."""
    write(tmp_path / "web/manifest")

    assert (GOOD.encode(), NO_VERSION) == glance(at(tmp_path))
    assert not is_version(manifest_path(at(tmp_path)), NO_VERSION)


def test_many_tops(tmp_path: Path) -> None:
    """One directory is open at a time, and none afterwards."""
    for name in ("a", "b"):
        write(tmp_path / name / "web/manifest", f'{{"SourceImage": "{name}"}}')
    before = os.listdir("/proc/self/fd")
    with Glances(PLAIN) as glances:
        found = [glances.read(at(tmp_path / name))[0].decode()[17:18] for name in "abba"]

    assert ["a", "b", "b", "a"] == found
    assert before == os.listdir("/proc/self/fd")
