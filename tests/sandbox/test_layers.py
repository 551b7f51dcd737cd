"""What a build does to a tree is read exactly, and its upper, made whole, shows exactly the image."""

from __future__ import annotations

import ast
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest_twisted
from msgspec.structs import replace

from imaginator.model.changes import Change, Touches
from imaginator.model.tree import Kind
from imaginator.sandbox.sandbox import Workspace
from tests.support.sandboxes import opened, run, small_tree, walk

CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")
"""``cap_net_raw+ep`` as the kernel keeps it, version 2 (linux/capability.h)."""


def source_tree(folder: Path) -> Path:
    """A small system with something of everything."""
    tree = small_tree(folder)
    (tree / "doomed/deep").mkdir(parents=True)
    (tree / "doomed/deep/file").write_text("doomed")
    (tree / "group").mkdir()
    (tree / "group/a").write_text("shared")
    for name in ("b", "c"):
        os.link(tree / "group/a", tree / "group" / name)
    (tree / "single").write_text("single")
    os.mkfifo(tree / "pipe")
    os.mknod(tree / "dev/loop9", 0o60660, os.makedev(7, 9))
    (tree / "usr/ping").write_text("ping")
    os.setxattr(tree / "usr/ping", "security.capability", CAPABILITY)
    (tree / "usr/su").write_text("su")
    (tree / "usr/su").chmod(0o4755)
    Path(os.fsdecode(os.fsencode(tree) + b"/name-\xff")).write_text("not UTF-8")
    os.chown(tree, 11, 12)
    os.utime(tree, ns=(0, 1_234_567_890_123_456_789))
    return tree


def by_path(changes: list[Change]) -> dict[bytes, Change]:
    """Changes by their paths."""
    return {change.path: change for change in changes}


def shown(tmp_path: Path, lowers: list[Path]) -> dict[bytes, object]:
    """What a build over these layers, topmost first, sees: read in a mount namespace of its own."""
    script = (
        "import subprocess, sys; from pathlib import Path; from tests.support.sandboxes import walk;"
        "subprocess.run(['mount', '-t', 'overlay', 'look', '-o', sys.argv[1], sys.argv[2]], check=True);"
        "print(repr(walk(Path(sys.argv[2]))))"
    )
    place = tmp_path / "look"
    place.mkdir()
    (tmp_path / "nothing").mkdir()
    options = "lowerdir=" + ":".join(map(str, [*lowers, tmp_path / "nothing"]))
    argv = ["unshare", "--mount", sys.executable, "-c", script, options, str(place)]
    output = subprocess.run(argv, check=True, capture_output=True, cwd=Path(__file__).parents[2]).stdout
    shown: dict[bytes, object] = ast.literal_eval(output.decode())
    return shown


@pytest_twisted.ensureDeferred
async def test_an_untouched_tree_has_no_changes(tmp_path: Path) -> None:
    """The root alone is told, and as the source has it."""
    tree = source_tree(tmp_path / "source")
    async with opened(Workspace(tmp_path / "build", (tree,))) as sandbox:
        changes = await sandbox.tree.scan()

    root = changes[0].inode
    assert [b"/"] == [change.path for change in changes]
    assert root is not None
    assert (11, 12, 1_234_567_890_123_456_789) == (root.uid, root.gid, root.mtime)


@pytest_twisted.ensureDeferred
async def test_changes_are_read_exactly(tmp_path: Path) -> None:
    """Removed, replaced and new paths, with kinds, modes, owners, links and attributes."""
    tree = source_tree(tmp_path / "source")
    script = """
        rm -rf /doomed; mkdir /doomed; echo new > /doomed/new
        rm /single; mkdir /single
        echo more >> /group/b
        chmod 6711 /usr/su
        rm /usr/share/linked
        ln -s /nowhere /link
    """
    async with opened(Workspace(tmp_path / "build", (tree,))) as sandbox:
        ended, said = await run(sandbox, script)
        assert ended.ok, said
        changes = by_path(await sandbox.tree.scan())
        group = await sandbox.tree.lookup([b"/group/a", b"/group/b", b"/group/c"])

    assert changes[b"/doomed"].opaque
    assert changes[b"/usr/share/linked"].inode is None
    assert Kind.DIRECTORY == changes[b"/single"].inode.kind  # type: ignore[union-attr]
    assert 0o6711 == changes[b"/usr/su"].inode.mode  # type: ignore[union-attr]
    assert b"/nowhere" == changes[b"/link"].inode.target  # type: ignore[union-attr]
    assert 1 == len({change.number for change in group})
    assert [11, 11, 11] == [change.inode.size for change in group if change.inode]
    assert b"/pipe" not in changes


@pytest_twisted.ensureDeferred
async def test_a_plain_tree_is_read_whole(tmp_path: Path) -> None:
    """Every path with its kind and attributes; a socket is told as absent."""
    workspace = Workspace(tmp_path / "build")
    workspace.make()
    workspace.upper.rmdir()
    source_tree(workspace.upper)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(workspace.upper / "socket"))
        async with opened(workspace) as sandbox:
            changes = by_path(await sandbox.tree.scan())

    assert set(walk(workspace.upper)) == set(changes)
    assert changes[b"/socket"].inode is None
    assert ((b"security.capability", CAPABILITY),) == changes[b"/usr/ping"].inode.attributes  # type: ignore[union-attr]
    assert os.makedev(7, 9) == changes[b"/dev/loop9"].inode.device  # type: ignore[union-attr]
    assert b"/name-\xff" in changes


@pytest_twisted.ensureDeferred
async def test_content_is_stored_once_and_whole(tmp_path: Path) -> None:
    """Each object is named by the SHA-512 of its bytes; equal and empty files make no second one."""
    workspace = Workspace(tmp_path / "build")
    workspace.make()
    for name, content in (("a", b"one"), ("b", b"one"), ("c", b"two" * 4_000_000), ("empty", b"")):
        (workspace.upper / name).write_bytes(content)
    async with opened(workspace) as sandbox:
        first = await sandbox.tree.collect([b"/a", b"/b", b"/c", b"/empty"], tmp_path / "objects")
        again = await sandbox.tree.collect([b"/a", b"/c"], tmp_path / "objects")

    objects = {path.parent.name + path.name: path.read_bytes() for path in (tmp_path / "objects").glob("*/*")}
    assert [3, 3, 12_000_000, 0] == [content.size for content in first]
    assert [True, False, True, False] == [content.new for content in first]
    assert [False, False] == [content.new for content in again]
    assert {first[0].digest.hex(), first[2].digest.hex()} == set(objects)
    assert {b"one", b"two" * 4_000_000} == set(objects.values())


@pytest_twisted.ensureDeferred
async def test_many_files_are_hashed_side_by_side(tmp_path: Path) -> None:
    """Several processes give each file's content once, and a file that vanished is an error of the whole."""
    workspace = Workspace(tmp_path / "build")
    workspace.make()
    paths = [b"/%03d" % number for number in range(300)]
    for path in paths:
        Path(os.fsdecode(os.fsencode(workspace.upper) + path)).write_bytes(path)
    async with opened(workspace) as sandbox:
        contents = await sandbox.tree.collect(paths, tmp_path / "objects")

    assert sorted(paths) == sorted(content.path for content in contents)
    assert 300 == len({content.digest for content in contents})


@pytest_twisted.ensureDeferred
async def test_a_finished_upper_shows_exactly_the_image(tmp_path: Path) -> None:
    """Over the same layers it is the merged tree, but for what was touched: content, owners, times, link counts."""
    tree = source_tree(tmp_path / "source")
    workspace = Workspace(tmp_path / "build", (tree,))
    script = """
        echo more >> /group/b; rm /group/c
        rm -rf /doomed; mkdir /doomed; echo new > /doomed/new
        rm /usr/share/linked-too
        touch /usr/late; echo x > /usr/computed; mkdir -p /run/stub
    """
    touches = Touches(
        absent=(b"/etc/release", b"/run/stub"),
        groups=((b"/group/a", b"/group/b"), (b"/usr/share/linked",)),
        empty=(b"/usr/computed",),
        times=((b"/usr/late", 42),),
    )
    async with opened(workspace) as sandbox:
        ended, said = await run(sandbox, script)
        assert ended.ok, said
        changes = by_path(await sandbox.tree.scan())
        await sandbox.tree.finish(touches)

    image = shown(tmp_path, [workspace.upper, tree])
    assert not {b"/etc/release", b"/run/stub", b"/group/c", b"/doomed/deep", b"/usr/share/linked-too"} & set(image)
    assert ("shared" + "more\n", 2) == (_content(image, b"/group/a"), _links(image, b"/group/a"))
    assert ("one\n", 1) == (_content(image, b"/usr/share/linked"), _links(image, b"/usr/share/linked"))
    assert ("", 42) == (_content(image, b"/usr/computed"), image[b"/usr/late"][2])  # type: ignore[index]
    for path in (b"/", b"/etc", b"/run", b"/group", b"/usr", b"/doomed", b"/usr/share"):
        expected = changes[path].inode.mtime if path in changes else walk(tree)[path][2]  # type: ignore[union-attr]
        assert expected == image[path][2], path  # type: ignore[index]
    assert not (workspace.directory / "work").exists()


def _content(image: dict[bytes, object], path: bytes) -> str:
    return image[path][7].decode()  # type: ignore[index,no-any-return]


def _links(image: dict[bytes, object], path: bytes) -> int:
    return image[path][4]  # type: ignore[index,no-any-return]


@pytest_twisted.ensureDeferred
async def test_a_restored_tree_is_the_tree(tmp_path: Path) -> None:
    """Metadata and objects make the same tree again: owners, times, attributes, devices, hard links."""
    tree = source_tree(tmp_path / "build" / "upper")
    before = walk(tree)
    async with opened(Workspace(tmp_path / "build")) as sandbox:
        changes = await sandbox.tree.scan()
        files = [change.path for change in changes if change.inode and change.inode.kind is Kind.REGULAR]
        digests = {content.path: content for content in await sandbox.tree.collect(files, tmp_path / "objects")}
    first: dict[int, bytes] = {}
    entries = []
    for change in changes:
        assert change.inode is not None
        group = first.setdefault(change.number, change.path) if change.number else b""
        content = digests.get(change.path)
        inode = replace(change.inode, object=content.digest if content else b"", link=group)
        entries.append((change.path, inode))
    async with opened(Workspace(tmp_path / "again")) as sandbox:
        await sandbox.tree.restore(entries, tmp_path / "objects")

    assert before == walk(tmp_path / "again" / "upper")


@pytest_twisted.ensureDeferred
async def test_neither_set_id_bits_nor_devices_work_in_a_tree(tmp_path: Path) -> None:
    """The overlay is mounted so that they are only kept."""
    tree = source_tree(tmp_path / "source")
    workspace = Workspace(tmp_path / "build", (tree,))
    async with opened(workspace) as sandbox:
        mounts = Path(f"/proc/{sandbox._channel.pid}/mounts").read_text().splitlines()

    (options,) = (line.split()[3].split(",") for line in mounts if line.split()[1] == str(workspace.tree))
    assert {"nosuid", "nodev"} <= set(options)
