"""A build's own disk: what it holds, what is said when it is full, and that it comes and goes without a trace."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import pytest_twisted

from imaginator.model.changes import Touches
from imaginator.model.errors import BuildFailed
from imaginator.sandbox.limits import Limits
from imaginator.sandbox.sandbox import Bind, Profile, Workspace
from tests.support.sandboxes import opened, run, small_tree, walk

LIMITS = Limits(disk=32 << 20, inodes=2000)

EVERYTHING = """set -e
mkdir -p /data/deep /var/lib/own
echo content > /data/file
ln /data/file /data/deep/link
ln -s ../file /data/deep/symlink
mkfifo /data/fifo
mknod /data/null c 1 3
chown 12:34 /data/file
chmod 4755 /data/file
rm -r /etc
mkdir /etc
echo new > /etc/release
rm /bin/cat
dd if=/dev/zero of=/data/hole bs=1 count=1 seek=1000000
touch -d 2001-02-03 /data/file
setfattr -n user.comment -v told /data/file || true
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A build over a small system."""
    return Workspace(tmp_path / "build", (small_tree(tmp_path / "source"),))


def loop_files() -> str:
    """The files that loop devices use."""
    return subprocess.run(["losetup", "--noheadings", "--output", "BACK-FILE"], capture_output=True, text=True).stdout


def described(root: Path) -> dict[bytes, tuple[object, ...]]:
    """A tree without the times of what a build wrote just now."""
    times = 2
    return {path: (*found[:times], *found[times + 1 :]) for path, found in walk(root).items()}


@pytest_twisted.ensureDeferred
async def test_the_upper_is_the_same_with_a_disk_and_without(tmp_path: Path) -> None:
    """Links, holes, owners, whiteouts and opaque directories come out of the disk as they were in it."""
    found = []
    for name, limits in (("plain", Limits()), ("limited", LIMITS)):
        workspace = Workspace(tmp_path / name, (small_tree(tmp_path / f"{name}-source"),))
        async with opened(workspace, limits=limits) as sandbox:
            ended, said = await run(sandbox, EVERYTHING)
            assert ended.ok, said
            await sandbox.tree.finish(Touches())
        assert b"y" == os.getxattr(workspace.upper / "etc", "trusted.overlay.opaque")
        assert (workspace.upper / "data/hole").stat().st_blocks < 100
        assert 981158400 == (workspace.upper / "data/file").stat().st_mtime // 86400 * 86400
        found.append(described(workspace.upper))

    assert found[0] == found[1]
    assert str(tmp_path) not in loop_files()


@pytest_twisted.ensureDeferred
async def test_bytes_are_limited_and_it_is_said(workspace: Workspace) -> None:
    """The writer gets ENOSPC, and the end of its output names the limit."""
    async with opened(workspace, limits=LIMITS) as sandbox:
        ended, said = await run(sandbox, "dd if=/dev/zero of=/filler bs=1M count=64")

    assert not ended.ok
    assert "No space left on device" in said
    assert "sandbox: the build's own disk is full: 31 MiB" == said.splitlines()[-1]


@pytest_twisted.ensureDeferred
async def test_inodes_are_limited_and_it_is_said(workspace: Workspace) -> None:
    """Empty files take no bytes; their number has a limit of its own."""
    async with opened(workspace, limits=LIMITS) as sandbox:
        ended, said = await run(sandbox, "set -e; mkdir /many; i=0; while :; do : > /many/$i; i=$((i+1)); done")

    assert not ended.ok
    assert "sandbox: the build's own disk is full: 2000 files and directories" == said.splitlines()[-1]


@pytest_twisted.ensureDeferred
async def test_a_package_cache_fills_the_builds_disk_too(workspace: Workspace, tmp_path: Path) -> None:
    """What a packager downloads counts."""
    (tmp_path / "cache").mkdir()
    async with opened(workspace, limits=LIMITS) as sandbox:
        await sandbox.tree.make_mount_points([b"/cache"])
        found = await sandbox.tree.offer_packages(b"/cache", tmp_path / "cache", "")
        assert found is not None
        bind = Bind(found[0], b"/cache", writable=True)
        ended, said = await run(sandbox, "dd if=/dev/zero of=/cache/filler bs=1M count=64", binds=[bind])

    assert not ended.ok
    assert "the build's own disk is full" in said


@pytest_twisted.ensureDeferred
async def test_a_second_holder_goes_on_where_the_first_one_ended(tmp_path: Path) -> None:
    """A bootstrap's tree is filled by one sandbox and finished by another one."""
    workspace = Workspace(tmp_path / "build")
    async with opened(workspace, Profile.BOOTSTRAP, LIMITS) as sandbox:
        ended, said = await run(sandbox, f"echo made > {workspace.upper}/file")
        assert ended.ok, said
    async with opened(workspace, limits=LIMITS) as sandbox:
        assert b"made\n" == await sandbox.tree.read(b"/file", 100)
        await sandbox.tree.finish(Touches())

    assert "made\n" == (workspace.upper / "file").read_text()


@pytest_twisted.ensureDeferred
async def test_a_killed_holder_leaves_no_loop_device(workspace: Workspace) -> None:
    """The device goes with the mount, and the mount with the last process that sees it."""
    async with opened(workspace, limits=LIMITS) as sandbox:
        assert str(workspace.directory) in loop_files()
        os.kill(sandbox._channel.pid, signal.SIGKILL)
        patience = time.monotonic() + 5
        while str(workspace.directory) in loop_files():
            assert time.monotonic() < patience


@pytest_twisted.ensureDeferred
async def test_what_the_disk_of_all_could_not_take_fails_the_build(tmp_path: Path) -> None:
    """Two builds may have been promised the same room: what one of them lost is noticed before it is packed."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", place], check=True)
    try:
        workspace = Workspace(place / "build", (small_tree(tmp_path / "source"),))
        async with opened(workspace, limits=LIMITS) as sandbox:
            (place / "other").write_bytes(bytes(30 << 20))
            await run(sandbox, "dd if=/dev/urandom of=/filler bs=1M count=20")
            with pytest.raises(BuildFailed, match="no space left for the build's disk"):
                await sandbox.tree.gather([b"/filler"], place / "objects")
    finally:
        subprocess.run(["umount", place], check=True)
