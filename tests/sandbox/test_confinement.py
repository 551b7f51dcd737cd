"""What confines a command, seen from inside: ids, devices, privileges, and what it is told of what is denied."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import stat
import struct
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet.task import deferLater

from imaginator.model.changes import Touches
from imaginator.model.errors import BuildFailed
from imaginator.sandbox.attending import _read_path, mknod_arguments
from imaginator.sandbox.process import Tail
from imaginator.sandbox.sandbox import Bind, Workspace
from tests.support.real_reactor import reactor
from tests.support.sandboxes import ENVIRONMENT, opened, run, small_tree, walk


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A build over a small system."""
    return Workspace(tmp_path / "build", (small_tree(tmp_path / "source"),))


@pytest_twisted.ensureDeferred
async def test_root_inside_is_nobody_outside(workspace: Workspace) -> None:
    """It owns what is root's in the tree, and its processes are none of the host's root's."""
    async with opened(workspace) as sandbox:
        ended, said = await run(sandbox, "id -u; stat -c %u:%g /etc/release; cat /proc/self/uid_map; echo x > /made")
        shown = os.stat(f"/proc/{sandbox._channel.pid}/root{workspace.tree}/made")

    assert ended.ok, said
    user, owner, mapping = said.splitlines()
    assert ("0", "0:0") == (user, owner)
    assert mapping.split()[1] == str(shown.st_uid) != "0"
    assert 0 == (workspace.upper / "made").stat().st_uid


@pytest_twisted.ensureDeferred
async def test_descriptors_are_as_programs_expect(workspace: Workspace) -> None:
    """However many the daemon takes for its clients: a few, and more for who asks."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    async with opened(workspace) as sandbox:
        ended, said = await run(sandbox, "ulimit -Sn; ulimit -Hn")

    assert ended.ok, said
    assert [min(1024, most), most] == [int(word) for word in said.split()]


@pytest_twisted.ensureDeferred
async def test_two_builds_have_different_ids(workspace: Workspace, tmp_path: Path) -> None:
    """What one could reach of the other would belong to somebody else."""
    other = Workspace(tmp_path / "other", workspace.lowers)
    async with opened(workspace) as one, opened(other) as two:
        maps = [(await run(sandbox, "cat /proc/self/uid_map"))[1] for sandbox in (one, two)]

    assert maps[0] != maps[1]


@pytest_twisted.ensureDeferred
async def test_device_nodes_are_in_the_image_and_of_no_use_inside(workspace: Workspace) -> None:
    """Made by a supervised call: by an absolute path, a relative one, in a changed root; umask and mode are heeded."""
    script = """set -e
mknod /null c 1 3
cat /null && exit 1
cd /var/lib
mknod disk b 8 1
umask 077
mknod private c 1 5
mkdir -p /other/dev /other/bin
cp /bin/busybox /other/bin/
chroot /other /bin/busybox mknod /dev/zero c 1 5
chroot /other /bin/busybox sh -c 'cd /dev; /bin/busybox mknod full c 1 7'
mknod /dev/own c 1 3
mkfifo /fifo
"""
    async with opened(workspace) as sandbox:
        ended, said = await run(sandbox, script)
        await sandbox.tree.finish(Touches())

    assert ended.ok, said
    found = {path: os.lstat(workspace.upper / path) for path in ("null", "var/lib/disk", "var/lib/private", "fifo")}
    assert (stat.S_IFCHR | 0o644, os.makedev(1, 3)) == (found["null"].st_mode, found["null"].st_rdev)
    assert (stat.S_IFBLK | 0o644, os.makedev(8, 1)) == (found["var/lib/disk"].st_mode, found["var/lib/disk"].st_rdev)
    assert stat.S_IFCHR | 0o600 == found["var/lib/private"].st_mode
    assert {(0, 0)} == {(status.st_uid, status.st_gid) for status in found.values()}
    assert os.makedev(1, 5) == os.lstat(workspace.upper / "other/dev/zero").st_rdev
    assert os.makedev(1, 7) == os.lstat(workspace.upper / "other/dev/full").st_rdev
    assert not (workspace.upper / "dev/own").exists()


@pytest_twisted.ensureDeferred
async def test_no_device_node_comes_into_a_directory_of_the_host(workspace: Workspace, tmp_path: Path) -> None:
    """Nor a whiteout into a tree: both would outlive the build, where they mean something."""
    (tmp_path / "shared").mkdir()
    (workspace.lowers[0] / "shared").mkdir()
    bind = Bind(tmp_path / "shared", b"/shared", writable=True)
    script = "mknod /shared/null c 1 3; mknod /hidden c 0 0; chroot /shared true; exit 3"
    async with opened(workspace) as sandbox:
        ended, said = await run(sandbox, script, binds=[bind])

    assert 3 == ended.code
    assert [] == list((tmp_path / "shared").iterdir())
    assert 2 == said.count("Operation not permitted")
    assert said.splitlines()[-1] == "sandbox: not permitted in a build: mknodat by mknod (2 times)"


@pytest_twisted.ensureDeferred
async def test_a_command_that_failed_is_told_what_was_denied(workspace: Workspace) -> None:
    """By call and program, the most frequent first; one that succeeded is not bothered."""
    async with opened(workspace) as sandbox:
        _, quiet = await run(sandbox, "mount -t tmpfs none /tmp 2> /tmp/words; true")
        ended, said = await run(sandbox, "hostname x; hostname y; unshare -m true; exit 5")

    assert "sandbox" not in quiet
    assert 5 == ended.code
    expected = "sandbox: not permitted in a build: sethostname by hostname (2 times), unshare by unshare"
    assert expected == said.splitlines()[-1]


@pytest_twisted.ensureDeferred
async def test_bound_files_keep_their_owners_both_ways(workspace: Workspace, tmp_path: Path) -> None:
    """A file of the host's reads as on the host; what the build makes there belongs to who made it."""
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "theirs").touch()
    os.chown(shared / "theirs", 1234, 56)
    (workspace.lowers[0] / "shared").mkdir()
    script = "stat -c %u:%g /shared/theirs; echo x > /shared/ours; chown 7:8 /shared/ours"
    async with opened(workspace) as sandbox:
        ended, said = await run(sandbox, script, binds=[Bind(shared, b"/shared", writable=True)])

    assert ended.ok, said
    assert "1234:56" == said
    assert (7, 8) == ((shared / "ours").stat().st_uid, (shared / "ours").stat().st_gid)


@pytest_twisted.ensureDeferred
async def test_ids_of_images_are_the_disks(workspace: Workspace) -> None:
    """Large ones too, and those in access lists and file capabilities that the holder reads through the mount."""
    source = workspace.lowers[0]
    (source / "program").touch(0o755)
    capability = struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0)
    os.setxattr(source / "program", "security.capability", capability)
    os.chown(source / "etc/release", 1_000_000, 65535)
    async with opened(workspace) as sandbox:
        ended, said = await run(sandbox, "mv /program /moved; chown 1000000:7 /etc/release; touch /moved")
        assert ended.ok, said
        changes = {change.path: change.inode for change in await sandbox.tree.scan()}
        (looked,) = await sandbox.tree.lookup([b"/etc/release"])
        await sandbox.tree.finish(Touches())

    moved, release = changes[b"/moved"], changes[b"/etc/release"]
    assert moved
    assert release
    assert ((b"security.capability", capability),) == moved.attributes
    assert (1_000_000, 7) == (release.uid, release.gid)
    assert looked.inode == release
    assert {"security.capability": capability} == walk(workspace.upper)[b"/moved"][5]


@pytest_twisted.ensureDeferred
async def test_what_is_mounted_cannot_be_changed_into(workspace: Workspace) -> None:
    """Kernel settings, the masked parts of /proc, the device nodes: neither written nor made writable."""
    script = """
echo x > /proc/sys/kernel/core_pattern
echo nothing > /proc/sysrq-trigger
echo 1 > /proc/sys/user/max_user_namespaces
cat /proc/kcore /proc/keys /proc/kallsyms
chmod 0 /dev/null
echo x > /sys/power/state
cat /proc/sys/user/max_user_namespaces
ls /sys/firmware
"""
    async with opened(workspace) as sandbox:
        _, said = await run(sandbox, script)

    words = said.splitlines()
    assert "0" == words[-1]
    denied = ("Read-only file system", "Permission denied", "No such file or directory", "nonexistent directory")
    assert [] == [line for line in words[:-1] if not line.endswith(denied)]
    assert 4 <= len(words)


@pytest.mark.parametrize("directory", [0xFFFFFF9C, 0xFFFFFFFFFFFFFF9C])
def test_a_directory_in_half_a_register(directory: int) -> None:
    """AT_FDCWD, as musl and as glibc put it there; the rest of a mode's or device's register does not matter either."""
    registers = (directory, 4096, 0xABCD000021A4, 0xABCD00000103, 0, 0)

    assert (-100, 4096, 0x21A4, 0x103) == mknod_arguments("mknodat", registers)
    assert (-100, 4096, 0x21A4, 0x103) == mknod_arguments("mknod", registers[1:])


@pytest_twisted.ensureDeferred
async def test_a_node_by_a_program_of_any_name(workspace: Workspace) -> None:
    """What a process calls itself may be no text; an address where nothing is fails as on any machine."""
    script = """set -e
busybox=$(printf '/bin/busybox\351')
cp /bin/busybox "$busybox"
"$busybox" mknod /null c 1 3
"""
    async with opened(workspace) as sandbox:
        ended, said = await run(sandbox, script)

    assert ended.ok, said
    assert os.makedev(1, 3) == os.lstat(workspace.upper / "null").st_rdev


@pytest.mark.parametrize("address", [0, 1, 1 << 63, (1 << 64) - 1])
def test_a_path_where_no_memory_is(address: int) -> None:
    """EFAULT, as of the kernel."""
    with pytest.raises(OSError, match=os.strerror(errno.EFAULT)):
        _read_path(os.getpid(), address)


@pytest_twisted.ensureDeferred
async def test_signals_of_a_command_stay_within(workspace: Workspace) -> None:
    """What it sends to its group is not for those that hold it; the signal that ends a build reaches all of it."""
    script = "trap '' HUP INT USR1; kill -HUP 0; kill -INT 0; kill -USR1 0; echo alive; exit 3"
    waiting = "trap 'echo told; exit 4' TERM; sleep 1000 & echo ready; wait"
    told = Tail()
    async with opened(workspace) as sandbox:
        ended, said = await run(sandbox, script)
        child = sandbox.run(["sh", "-c", waiting], ENVIRONMENT, output=told, network=False)
        while "ready" not in told.text():
            await deferLater(reactor, 0.01)
        stopped = await child.stop("enough")

    assert (3, "alive") == (ended.code, said)
    assert (4, "ready\ntold") == (stopped.code, told.text())


@contextmanager
def swapped(directory: int, name: bytes, other: bytes) -> Iterator[None]:
    """Two names of a directory change places all the time: renameat2(2) with RENAME_EXCHANGE."""
    renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    enough = threading.Event()

    def swap() -> None:
        while not enough.is_set():
            renameat2(directory, name, directory, other, 2)

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        yield
    finally:
        enough.set()
        swapping.join()


@pytest_twisted.ensureDeferred
async def test_what_is_mounted_is_made_out_of_reach(workspace: Workspace) -> None:
    """Who puts a link to the host where ``/dev`` is, while commands start, gets nothing made there."""
    with tempfile.TemporaryDirectory(prefix="host-") as host:
        Path(host).chmod(0o777)
        os.rmdir(workspace.lowers[0] / "dev")  # overlayfs renames no directory of a layer
        async with opened(workspace) as sandbox:
            await run(sandbox, f"mkdir /dev; ln -s {host} /link")
            tree = os.open(f"/proc/{sandbox._channel.pid}/root{workspace.tree}", os.O_PATH | os.O_DIRECTORY)
            with swapped(tree, b"dev", b"link"):
                for _ in range(60):
                    await run(sandbox, "true")
            os.close(tree)

        assert [] == os.listdir(host)


@pytest_twisted.ensureDeferred
async def test_a_device_node_is_never_opened_for_a_tree(tmp_path: Path) -> None:
    """Nor in the tree of a bootstrap, whose file system is the state directory's: there it would work."""
    small_tree(tmp_path / "build/upper")
    async with opened(Workspace(tmp_path / "build")) as sandbox:
        ended, said = await run(sandbox, "mknod /etc/resolv.conf c 1 3")
        assert ended.ok, said
        with pytest.raises(BuildFailed, match="/etc/resolv.conf: a device"):
            await sandbox.tree.write(b"/etc/resolv.conf", b"x")
        with pytest.raises(BuildFailed, match="/etc/resolv.conf: a device"):
            await sandbox.tree.read(b"/etc/resolv.conf", 10)


@pytest_twisted.ensureDeferred
async def test_a_command_that_gets_no_pipe(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has ended, with the reason, and the sandbox can be closed."""

    def no_pipe() -> tuple[int, int]:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    async with opened(workspace) as sandbox:
        monkeypatch.setattr("imaginator.sandbox.process.os.pipe", no_pipe)
        ended, said = await run(sandbox, "true")
        monkeypatch.undo()

    assert (125, "sandbox: Too many open files") == (ended.code, said)
