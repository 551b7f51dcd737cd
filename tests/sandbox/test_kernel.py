"""Each step in raw system calls, one by one, in processes of their own."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import stat
import struct
import traceback
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from imaginator.sandbox.kernel import calls
from imaginator.sandbox.kernel.files import open_beneath
from imaginator.sandbox.kernel.loop import attach_loop, attached
from imaginator.sandbox.kernel.mounts import (
    MS_BIND,
    MS_NODEV,
    MS_PRIVATE,
    MS_REC,
    attach_mount,
    clone_mount,
    mount,
    pivot_root_here,
    restrict_mount,
)
from imaginator.sandbox.kernel.namespaces import (
    CLONE_NEWNS,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
    join,
    set_host_name,
    unshare,
)
from imaginator.sandbox.kernel.privileges import (
    CUSTOMARY,
    become_root,
    die_with_parent,
    files_as,
    gain_nothing,
    keep_only,
    leave_session_keyring,
)
from imaginator.sandbox.kernel.seccomp import answer, fetch_descriptor, filter_calls, receive, still_waits
from imaginator.sandbox.owners import COUNT, FIRST, Owners, UserNamespace
from imaginator.sandbox.policy import policy


def in_a_process(work: Callable[[], None]) -> None:
    """Do something in a child; what it asserts or raises fails the test with its words."""
    source, sink = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(source)
        try:
            work()
        except BaseException:
            os.write(sink, traceback.format_exc().encode()[-4000:])
        finally:
            os._exit(0)
    os.close(sink)
    with os.fdopen(source, "rb") as words:
        said = words.read().decode()
    _, status = os.waitpid(pid, 0)
    assert (status, said) == (0, "")


def own_mounts() -> None:
    """A mount namespace that nobody sees."""
    unshare(CLONE_NEWNS)
    mount(b"none", b"/", b"", MS_PRIVATE | MS_REC)


def refused(work: Callable[[], object]) -> int:
    """The errno with which something fails."""
    with pytest.raises(OSError, match=".") as caught:
        work()
    assert caught.value.errno
    return caught.value.errno


def test_a_call_of_an_unknown_machine_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The numbers were written down for two machines."""
    monkeypatch.setattr(calls, "_MACHINE", "vax")

    with pytest.raises(OSError, match="no system calls of vax: expected x86_64 or aarch64"):
        calls.number("pivot_root")
    assert 437 == calls.number("openat2")


def test_a_failing_call_names_itself() -> None:
    """Errno, and what was asked of which path."""
    with pytest.raises(OSError, match="mount tmpfs on /no/such/place") as caught:
        mount(b"tmpfs", b"/no/such/place", b"tmpfs")
    assert errno.ENOENT == caught.value.errno


def test_an_id_mapped_mount_shows_other_owners(tmp_path: Path) -> None:
    """What is root's on disk is the build's root's in the mount, and what that one makes is root's on disk."""
    (tmp_path / "source").mkdir()
    (tmp_path / "shown").mkdir()
    (tmp_path / "source/file").touch()
    os.chown(tmp_path / "source/file", 5, 6)

    def work() -> None:
        own_mounts()
        user = UserNamespace()
        tree = clone_mount(os.fsencode(tmp_path / "source"))
        restrict_mount(tree, b"source", owners=user.descriptor)
        attach_mount(tree, os.fsencode(tmp_path / "shown"))
        status = (tmp_path / "shown/file").stat()
        assert (user.first + 5, user.first + 6) == (status.st_uid, status.st_gid)
        with files_as(user.first + 7):
            (tmp_path / "shown/made").touch()

    in_a_process(work)

    assert 7 == (tmp_path / "source/made").stat().st_uid
    assert not (tmp_path / "shown/file").exists()


def test_a_restricted_mount_cannot_be_written(tmp_path: Path) -> None:
    """By root neither, and no device works there."""
    os.mknod(tmp_path / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))

    def work() -> None:
        own_mounts()
        tree = clone_mount(os.fsencode(tmp_path))
        restrict_mount(tree, b"tree", read_only=True)
        attach_mount(tree, os.fsencode(tmp_path))
        assert errno.EROFS == refused(lambda: (tmp_path / "file").touch())
        assert errno.EACCES == refused(lambda: (tmp_path / "null").read_bytes())

    in_a_process(work)


def test_mounts_below_come_along_where_asked(tmp_path: Path) -> None:
    """Without asking, the directory beneath is seen."""
    (tmp_path / "source/below").mkdir(parents=True)
    (tmp_path / "shown").mkdir()

    def work() -> None:
        own_mounts()
        mount(b"tmpfs", os.fsencode(tmp_path / "source/below"), b"tmpfs")
        (tmp_path / "source/below/file").touch()
        for below in (False, True):
            tree = clone_mount(os.fsencode(tmp_path / "source"), below=below)
            attach_mount(tree, os.fsencode(tmp_path / "shown"))
            assert below == (tmp_path / "shown/below/file").exists()

    in_a_process(work)


def test_a_changed_root_has_no_way_back(tmp_path: Path) -> None:
    """The old root is unmounted, and .. leads nowhere."""
    (tmp_path / "inside").touch()

    def work() -> None:
        own_mounts()
        mount(os.fsencode(tmp_path), os.fsencode(tmp_path), b"", MS_BIND)
        os.chdir(tmp_path)
        pivot_root_here()
        assert ["inside"] == os.listdir("/")
        assert ["inside"] == os.listdir("../..")

    in_a_process(work)


def test_the_root_of_a_user_namespace_is_nobody_outside() -> None:
    """It has all capabilities inside, and none over what the host's root has."""

    def work() -> None:
        user = UserNamespace()
        join(user.descriptor, CLONE_NEWUSER)
        become_root()
        assert (0, 0, []) == (os.getuid(), os.getgid(), os.getgroups())
        assert f"0 {user.first} {COUNT}" == " ".join(Path("/proc/self/uid_map").read_text().split())
        assert errno.EACCES == refused(lambda: Path("/etc/shadow").read_bytes())
        assert errno.EPERM == refused(lambda: set_host_name(b"stolen"))
        unshare(CLONE_NEWUTS)
        set_host_name(b"own")

    in_a_process(work)


def test_two_user_namespaces_never_share_an_id() -> None:
    """Ranges are locked by the processes that have them, and free again when these end."""

    def another() -> int:
        told, tell = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.write(tell, b"%d" % UserNamespace().first)
            os._exit(0)
        os.waitpid(pid, 0)
        return int(os.read(told, 20))

    def work() -> None:
        taken = UserNamespace().first
        # Other builds of this host may take one between two looks.
        found = [another() for _ in range(10)]
        assert taken not in found
        assert any(first == second for first, second in pairwise(found))
        assert {0} == {(first - FIRST) % COUNT for first in (taken, *found)}

    in_a_process(work)


def test_owners_turn_ids_in_attributes_too() -> None:
    """Entries of an access list, and the revision of a file capability that names its namespace's root."""
    owners = Owners(1000)
    entries = [(1, 6, 0xFFFFFFFF), (2, 5, 1005), (0x10, 7, 0xFFFFFFFF)]
    shown = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    capability = struct.pack("<6I", 0x03000001, 1 << 13, 0, 0, 0, 1000)

    assert struct.pack("<HHI", 2, 5, 5) == owners.attribute("system.posix_acl_access", shown)[12:20]
    assert shown[4:12] == owners.attribute("system.posix_acl_default", shown)[4:12]
    assert struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0) == owners.attribute("security.capability", capability)
    assert shown == owners.attribute("user.other", shown)
    assert (5, 999, 0) == (owners.image(1005), owners.image(999), owners.image(1000))


def test_capabilities_that_are_given_up_do_not_come_back() -> None:
    """Neither by becoming root again nor in another program."""

    def work() -> None:
        keep_only(CUSTOMARY.values())
        gain_nothing()
        status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines())
        wanted = f"{sum(1 << number for number in CUSTOMARY.values()):016x}"
        assert [wanted] * 3 == [status[name] for name in ("CapPrm", "CapEff", "CapBnd")]
        assert ["0" * 16] * 2 == [status[name] for name in ("CapInh", "CapAmb")]
        assert "1" == status["NoNewPrivs"]
        assert errno.EPERM == refused(lambda: unshare(CLONE_NEWNS))

    in_a_process(work)


def test_making_files_as_somebody_keeps_capabilities_and_death() -> None:
    """A change of ids would make Linux forget both."""

    def work() -> None:
        die_with_parent(os.getppid())
        with files_as(FIRST, FIRST + 1):
            assert os.open("/etc/shadow", os.O_RDONLY)
        number = ctypes.c_int()
        calls.libc.prctl(2, ctypes.byref(number), 0, 0, 0)
        assert signal.SIGKILL == number.value
        assert 0 == calls.libc.prctl(27, 0, 0, 0, 0)  # no securebits are left

    in_a_process(work)


def test_a_session_keyring_of_ones_own() -> None:
    """A key of the session before is not found any more."""

    def work() -> None:
        name = b"user", b"imaginator-test"
        add_key, keyctl, session = 248, 250, -3
        calls.check(calls.libc.syscall(keyctl, 1, None), "keyctl")
        calls.check(calls.libc.syscall(add_key, *name, b"secret", 6, session), "add_key")
        search = (keyctl, 10, session, *name, 0)
        assert calls.libc.syscall(*search) > 0
        leave_session_keyring()
        assert calls.libc.syscall(*search) < 0

    if calls._MACHINE == "x86_64":
        in_a_process(work)


def test_opening_beneath_a_root(tmp_path: Path) -> None:
    """Links and dots stay inside; without links, one is an error."""
    (tmp_path / "root").mkdir()
    (tmp_path / "root/passwd").write_text("inside")
    (tmp_path / "root/etc").symlink_to("/")
    root = os.open(tmp_path / "root", os.O_PATH)
    try:
        for path in (b"/passwd", b"/etc/passwd", b"/../../passwd"):
            with os.fdopen(open_beneath(root, path, os.O_RDONLY)) as file:
                assert "inside" == file.read()
        assert errno.ELOOP == refused(lambda: open_beneath(root, b"/etc/passwd", os.O_RDONLY, links=False))
    finally:
        os.close(root)


def test_a_supervised_call_waits_for_its_answer() -> None:
    """Who makes it sees the errno that the supervisor gives; what is not listed does not exist."""

    def work() -> None:
        told, tell = os.pipe()
        pid = os.fork()
        if pid == 0:
            gain_nothing()
            os.write(tell, b"%d\n" % filter_calls(policy().program, supervised=True))
            assert errno.EXDEV == refused(lambda: mount(b"none", b"/", b"tmpfs", MS_NODEV))
            assert -1 == calls.libc.syscall(425, 1, 0)  # io_uring_setup
            assert errno.ENOSYS == ctypes.get_errno()
            os._exit(7)
        listener = fetch_descriptor(pid, int(os.read(told, 20)))
        request = receive(listener)
        assert request is not None
        assert still_waits(listener, request)
        assert "mount" == policy().supervised[request.machine, request.number]
        assert (pid, MS_NODEV) == (request.pid, request.arguments[3])
        answer(listener, request, errno.EXDEV)
        assert (pid, 7 << 8) == os.waitpid(pid, 0)
        assert not still_waits(listener, request)

    in_a_process(work)


def test_a_file_becomes_a_block_device(tmp_path: Path) -> None:
    """It is gone with the last descriptor where nobody mounts it."""
    (tmp_path / "image").write_bytes(b"content".ljust(1 << 20, b"\0"))
    with (tmp_path / "image").open("r+b") as file:
        assert not attached(file.fileno())
        device, path = attach_loop(file.fileno())
        assert attached(file.fileno())
        assert b"content" == os.pread(device, 7, 0)
        assert path.startswith(b"/dev/loop")
        os.close(device)
        assert not attached(file.fileno())


def test_who_dies_with_a_parent_that_is_gone_dies_at_once() -> None:
    """There would be nobody left to make the kernel end it."""
    pid = os.fork()
    if pid == 0:
        die_with_parent(1)
        os._exit(0)
    assert 125 == os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
