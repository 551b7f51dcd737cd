"""What a check asks of the holder: whole trees, digests side by side, and which layer shows a path."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest_twisted

from imaginator.model.tree import Kind
from imaginator.sandbox.sandbox import Workspace
from tests.support.sandboxes import opened, small_tree, walk


@pytest_twisted.ensureDeferred
async def test_a_merged_tree_is_surveyed_whole(tmp_path: Path) -> None:
    """Every path of all layers, and a number for each file that its other names share."""
    tree = small_tree(tmp_path / "source")
    (tmp_path / "above/new").mkdir(parents=True)
    async with opened(Workspace(tmp_path / "build", (tmp_path / "above", tree))) as sandbox:
        found = await sandbox.tree.survey()

    numbers = {change.path: change.number for change in found}
    assert walk(tree).keys() | {b"/new"} == numbers.keys()
    assert numbers[b"/usr/share/linked"] == numbers[b"/usr/share/linked-too"] != numbers[b"/etc/passwd"] != 0
    assert {0} == {change.number for change in found if change.inode and change.inode.kind is Kind.DIRECTORY}


@pytest_twisted.ensureDeferred
async def test_digests_of_many_files(tmp_path: Path) -> None:
    """Several processes give each file's once; what cannot be read has a reason and stops none of the others."""
    files = tmp_path / "files"
    files.mkdir()
    contents = {b"/%03d" % number: b"%d" % number * number * 100 for number in range(300)}
    for path, content in contents.items():
        (files / os.fsdecode(path[1:])).write_bytes(content)
    (files / "folder").mkdir()
    (files / "link").symlink_to("001")
    os.mkfifo(files / "pipe")
    unreadable = [b"/folder", b"/gone", b"/link", b"/pipe"]
    async with opened(Workspace(tmp_path / "build")) as sandbox:
        found = await sandbox.tree.digests([*contents, *unreadable], files)

    whole = {each.path: (each.digest, each.size) for each in found if not each.problem}
    assert {path: (hashlib.sha512(data).digest(), len(data)) for path, data in contents.items()} == whole
    assert unreadable == sorted(each.path for each in found if each.problem)
    assert {b""} == {each.digest for each in found if each.problem}


@pytest_twisted.ensureDeferred
async def test_the_layer_that_shows_a_path(tmp_path: Path) -> None:
    """The topmost that names it; a link on the way leads nowhere, and what hides a path speaks of it."""
    above, below = tmp_path / "above", tmp_path / "below"
    for layer in (above, below):
        (layer / "both").mkdir(parents=True)
    (below / "both/file").write_text("below")
    (below / "gone").write_text("gone")
    os.mknod(above / "gone", 0o20600, 0)
    (above / "link").symlink_to("/etc")
    paths = [b"/", b"/both", b"/both/file", b"/gone", b"/link", b"/link/passwd", b"/nowhere/file"]
    async with opened(Workspace(tmp_path / "build", (above, below))) as sandbox:
        places = await sandbox.tree.providers(paths)

    assert [0, 0, 1, 0, 0, -1, -1] == places
