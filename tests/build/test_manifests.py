"""Manifests on disk: read whole, and refused with everything that is wrong before anything is run."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from imaginator.build.manifests import load_manifest
from imaginator.model.errors import ConfigurationError
from imaginator.model.problems import Problem


def test_manifest_texts_are_read(tmp_path: Path) -> None:
    """All text files become one value."""
    (tmp_path / "manifest").write_text('{"SourceImage": "base"}')
    (tmp_path / "package-list").write_text("# tools\nping\n")
    (tmp_path / "filter").symlink_to("package-list")

    manifest = load_manifest(tmp_path, "here")

    assert ("base", ("ping",), ("ping",)) == (manifest.file.source_image, manifest.packages, manifest.filter)


def test_missing_manifest_is_an_error(tmp_path: Path) -> None:
    """A directory without a manifest is told by its name."""
    with pytest.raises(ConfigurationError, match=r"^here: .*manifest"):
        load_manifest(tmp_path, "here")


@pytest.mark.parametrize(
    ("target", "problem"),
    [("/etc/passwd", "leaves the manifest"), ("nowhere", "link to nothing"), (".", "not a regular file")],
)
def test_links_stay_inside_the_manifest(tmp_path: Path, target: str, problem: str) -> None:
    """A manifest cannot make the daemon read files of the host."""
    (tmp_path / "manifest").symlink_to(target)

    with pytest.raises(ConfigurationError, match=rf"^here/manifest: .*{problem}"):
        load_manifest(tmp_path, "here")


def test_huge_text_is_refused(tmp_path: Path) -> None:
    """A text file beyond the limit is not read."""
    with (tmp_path / "manifest").open("wb") as file:
        file.truncate(5 << 20)

    with pytest.raises(ConfigurationError, match="at most"):
        load_manifest(tmp_path, "here")


@pytest.mark.parametrize("name", ["files", "files.append", "tests", "scripts/10_stolen"])
def test_parts_that_lead_out_of_the_manifest(tmp_path: Path, name: str) -> None:
    """A link to a directory or a script of the host brings nothing of it into an image."""
    (tmp_path / "host").mkdir()
    manifest = tmp_path / "manifest"
    (manifest / name).parent.mkdir(parents=True)
    (manifest / "manifest").write_text('{"SourceImage": "s"}')
    (manifest / name).symlink_to(tmp_path / "host")

    with pytest.raises(ConfigurationError, match=f"M/{name}: a symbolic link that leaves the manifest"):
        load_manifest(manifest, "M")


def test_a_script_may_be_a_link_within_the_manifest(tmp_path: Path) -> None:
    """Scripts can be shared between the directories of a manifest."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / "common").write_text("#!/bin/sh\n")
    (tmp_path / "manifest").write_text('{"SourceImage": "s"}')
    (tmp_path / "scripts/10_common").symlink_to("../common")

    assert "s" == load_manifest(tmp_path, "M").file.source_image


def test_everything_that_is_wrong_is_told_of_at_once(tmp_path: Path) -> None:
    """Of directories, of texts that cannot be read, and of what the others say."""
    for name in ("files/etc", "scripts", "filter", "tests"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "manifest").write_text('{"SourceImage": "a b",\n "FilterLines": ["("]}')
    (tmp_path / "package-list").write_bytes(b"vim\n\xff")
    (tmp_path / "triggers").write_text("[]")
    (tmp_path / "triggers.add").symlink_to("triggers")
    (tmp_path / "post-scripts-files").touch()
    os.mkfifo(tmp_path / "files/etc/pipe")
    os.mknod(tmp_path / "tests/device", 0o020600, os.makedev(1, 3))
    (tmp_path / "scripts/10_gone").symlink_to("nowhere")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "scripts/20_socket"))

    with pytest.raises(ConfigurationError) as caught:
        load_manifest(tmp_path, "M")

    kinds = "expected a file, a directory or a symbolic link"
    assert [
        f"M/files/etc/pipe: a fifo: {kinds}",
        "M/post-scripts-files: not a directory",
        f"M/tests/device: a device: {kinds}",
        "M/scripts/10_gone: a symbolic link to nothing",
        f"M/scripts/20_socket: a socket: {kinds}",
        "M/filter: not a regular file",
        "M: both triggers and triggers.add: expected one of them",
        "M/manifest: line 1, column 17: $.SourceImage: stream name 'a b': expected parts of letters, digits and"
        " ._+:@~- joined by /, each beginning with a letter or digit",
        "M/manifest: line 2, column 18: $.FilterLines[0]: '(' is no regular expression: missing ): (",
        "M/package-list: line 2: not UTF-8 at byte 4 of the file",
    ] == list(map(str, caught.value.problems))


def test_what_is_doubtful_is_warned_of(tmp_path: Path) -> None:
    """Names that look like parts and are none; lines of the package list that do not look like packages."""
    told: list[Problem] = []
    (tmp_path / "manifest").write_text('{"SourceImage": "a", "Mine": 1}\n// fine\nmore')
    (tmp_path / "package-list").write_text("vim less\n-y\n")
    for name in ("package-lists", "README", "post-install-scripts", ".git"):
        (tmp_path / name).mkdir()

    load_manifest(tmp_path, "M", told.append)

    assert [
        "M/package-lists: has no effect: no part of a manifest is called so",
        "M/post-install-scripts: has no effect: no part of a manifest is called so",
        "M/manifest: line 3, column 1: text after the first value is ignored",
        "M/package-list: line 1: 'vim less' is one argument: expected one package a line",
        "M/package-list: line 2: '-y' is taken for an option by most packagers: expected the name of a package",
    ] == list(map(str, told))


def test_what_can_be_copied_is_not_followed(tmp_path: Path) -> None:
    """Links among the files are copied as they are, wherever they lead."""
    (tmp_path / "files").mkdir()
    (tmp_path / "files/loop").symlink_to("loop")
    (tmp_path / "files/out").symlink_to("/etc")
    (tmp_path / "manifest").write_text('{"SourceImage": "s"}')

    assert "s" == load_manifest(tmp_path, "M").file.source_image
