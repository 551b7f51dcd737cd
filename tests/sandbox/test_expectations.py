"""What real manifests expect of a sandbox: nodes, 32-bit programs, moved directories, streams by path, owners."""

from __future__ import annotations

import os
import shutil
import stat
import struct
from pathlib import Path

import pytest
import pytest_twisted

from imaginator.sandbox.sandbox import Bind, Workspace
from tests.support.sandboxes import opened, run, small_tree

X86_EXIT_42 = bytes.fromhex("bb2a000000b801000000cd80")
"""``mov ebx, 42; mov eax, 1; int 0x80``: exit(42) by the 32-bit system call."""
_ADDRESS = 0x08048000
_HEADERS = 52 + 32


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A build over a small system, which is busybox alone."""
    return Workspace(tmp_path / "build", (small_tree(tmp_path / "source"),))


def small_program(code: bytes) -> bytes:
    """A 32-bit program for x86: elf(5) with one segment."""
    size = _HEADERS + len(code)
    identity = b"\x7fELF" + bytes([1, 1, 1]) + bytes(9)
    header = struct.pack("<HHIIIIIHHHHHH", 2, 3, 1, _ADDRESS + _HEADERS, 52, 0, 0, 52, 32, 1, 0, 0, 0)
    return identity + header + struct.pack("<8I", 1, 0, _ADDRESS, _ADDRESS, size, size, 5, 0x1000) + code


@pytest_twisted.ensureDeferred
async def test_device_nodes_are_in_the_image(workspace: Workspace) -> None:
    """Those that a script makes, character and block, with mode and owner; they cannot be opened in the build."""
    script = """
        busybox mknod -m 640 /root/null c 1 3 && busybox chown 3:7 /root/null &&
        busybox mknod /root/disk b 7 250 && ! cat /root/null 2> /dev/null
    """
    async with opened(workspace) as sandbox:
        ended, said = await run(sandbox, script)

    character, block = (os.lstat(workspace.upper / "root" / name) for name in ("null", "disk"))
    assert ended.ok, said
    assert stat.S_ISCHR(character.st_mode)
    assert (0o640, 3, 7) == (stat.S_IMODE(character.st_mode), character.st_uid, character.st_gid)
    assert stat.S_ISBLK(block.st_mode)
    assert [os.makedev(1, 3), os.makedev(7, 250)] == [character.st_rdev, block.st_rdev]


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the program is for x86")
@pytest_twisted.ensureDeferred
async def test_programs_of_32_bits_run(workspace: Workspace) -> None:
    """The filter knows the system calls of both machines."""
    program = workspace.lowers[0] / "bin" / "small"
    program.write_bytes(small_program(X86_EXIT_42))
    program.chmod(0o755)
    async with opened(workspace) as sandbox:
        ended, said = await run(sandbox, "exec /bin/small")

    assert 42 == ended.code, said


@pytest_twisted.ensureDeferred
async def test_directories_of_programs_move_in_a_running_build(workspace: Workspace) -> None:
    """A script that merges /bin into /usr goes on; so does the next command."""
    script = """
        exec 3< /etc/release
        mv /bin /oldbin && /oldbin/mkdir -p /usr/bin && /oldbin/cp -a /oldbin/. /usr/bin/ &&
        /oldbin/ln -s usr/bin /bin && rm -r /oldbin && read name version <&3 && echo $name
    """
    async with opened(workspace) as sandbox:
        ended, said = await run(sandbox, script)
        again, _ = await run(sandbox, "test -x /usr/bin/busybox && test ! -e /oldbin")

    assert ended.ok, said
    assert "small" == said
    assert again.ok
    assert "usr/bin" == os.readlink(workspace.upper / "bin")


@pytest_twisted.ensureDeferred
async def test_standard_streams_open_by_path(workspace: Workspace) -> None:
    """For root, and for users that root becomes, as far as it lets them."""
    script = """
        echo out > /dev/stdout && echo err > /dev/stderr && echo more >> /proc/self/fd/2 && cat /dev/stdin &&
        echo child | cat /dev/stdin
    """
    async with opened(workspace) as sandbox:
        ended, said = await run(sandbox, script)

    assert ended.ok, said
    assert ["out", "err", "more", "child"] == said.split()


@pytest_twisted.ensureDeferred
async def test_owners_of_bind_mounts_are_the_hosts(workspace: Workspace, tmp_path: Path) -> None:
    """Seen by a command, and of what it writes."""
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "file").touch()
    os.chown(shared / "file", 1234, 567)
    (workspace.lowers[0] / "mnt").mkdir()
    script = "busybox stat -c %u:%g /mnt/file && touch /mnt/new && busybox chown 65533:8 /mnt/new && touch /mnt/roots"
    async with opened(workspace) as sandbox:
        ended, said = await run(sandbox, script, binds=[Bind(shared, b"/mnt", writable=True)])

    new, roots = ((shared / name).stat() for name in ("new", "roots"))
    assert ended.ok, said
    assert "1234:567" == said
    assert [(65533, 8), (0, 0)] == [(new.st_uid, new.st_gid), (roots.st_uid, roots.st_gid)]


@pytest_twisted.ensureDeferred
async def test_image_of_one_static_program(tmp_path: Path) -> None:
    """Neither /dev nor /proc nor a shell by name is needed."""
    source = tmp_path / "source"
    source.mkdir()
    busybox = shutil.which("busybox")
    assert busybox is not None
    shutil.copy(busybox, source / "program")
    workspace = Workspace(tmp_path / "build", (source,))
    async with opened(workspace) as sandbox:
        child_ended, said = await run(sandbox, "true")

    assert 127 == child_ended.code
    assert "not found" in said
