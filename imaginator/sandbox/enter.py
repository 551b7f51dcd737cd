"""Starts one command of a build in namespaces of its own. Standard library only, so that it starts in 15 ms.

Started as ``enter.main`` with the arguments that `Entry` reads, it joins the mount namespace of the build's holder,
leaves it for one of its own together with PID, IPC and UTS namespaces, and forks an init, which is process 1 there: it
makes the mounts, changes the root, and forks the command. When init ends, the kernel ends everything that the command
left running; the mounts are gone with the namespace, and none of them was ever visible to the holder.

The steps and their order: namespaces(7), pid_namespaces(7), pivot_root(2).
"""

from __future__ import annotations

import errno
import os
import resource
import signal
import stat
import sys
from collections.abc import Callable

from imaginator.sandbox.syscalls import (
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUTS,
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_PRIVATE,
    MS_RDONLY,
    MS_REC,
    MS_REMOUNT,
    die_with_parent,
    enter_mounts,
    mount,
    pivot_root_here,
    unshare,
)

NAMESPACES = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS
HOST_NAME = b"build"
DEVICES = {
    "null": (1, 3),
    "zero": (1, 5),
    "full": (1, 7),
    "random": (1, 8),
    "urandom": (1, 9),
    "tty": (5, 0),
}
"""Names and numbers of the device nodes that every program may expect (Linux' admin-guide/devices.txt)."""

LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}
LAUNCH_FAILED = 125
NOT_EXECUTABLE = 126
NOT_FOUND = 127


class Entry:
    """What is asked for, read from the launcher's arguments: HOLDER TREE OPTION… -- COMMAND….

    HOLDER is the holder's process id and TREE the root directory. ``--host``: the root stays the host's, and the
    command starts in the tree (a bootstrap). ``--network``: the host's network, else none. ``--mounts``: ``/proc``,
    ``/sys`` and the bind mounts (``--bind SOURCE TARGET``, ``--bind-writable SOURCE TARGET``) are there, else ``/dev``
    alone. ``--discard``: what the command writes is forgotten when it ends. ``--group FILE`` names a ``cgroup.procs``
    to join.
    """

    def __init__(self, words: list[str]) -> None:
        end = words.index("--")
        self.holder, self.tree = int(words[0]), words[1]
        self.command = words[end + 1 :]
        self.environment = _environment()
        self.binds: list[tuple[str, str, bool]] = []
        self.groups: list[str] = []
        self.flags: set[str] = set()
        self._read(words[2:end])

    def _read(self, options: list[str]) -> None:
        while options:
            match options:
                case ["--bind" | "--bind-writable" as option, source, target, *options]:
                    self.binds.append((source, target, option == "--bind-writable"))
                case ["--group", group, *options]:
                    self.groups.append(group)
                case [flag, *options]:
                    self.flags.add(flag)


def _environment() -> dict[bytes, bytes]:
    """The environment as it was given: Python adds LC_CTYPE to its own where there is no locale (PEP 538)."""
    with open("/proc/self/environ", "rb") as file:
        pairs = (line.partition(b"=") for line in file.read().split(b"\0") if line)
        return {name: value for name, _, value in pairs}


def main(*words: str) -> None:
    """Run the command, and end as it ends: with its exit status, or by its signal."""
    die_with_parent(0)
    os.setsid()
    entry = Entry(list(words))
    for group in entry.groups:
        with open(group, "w") as file:
            file.write(str(os.getpid()))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    enter_mounts(entry.holder)
    unshare(
        CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | (0 if "--network" in entry.flags else CLONE_NEWNET)
    )
    parent = os.getpid()
    told, tell = os.pipe()
    init = os.fork()
    if init == 0:
        os.close(told)
        _guarded(lambda: _init(entry, parent, tell))
    os.close(tell)
    # The group gets the signal that ends a build: the command itself is to heed it, and this process to tell of it.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    status = os.read(told, 16)
    os.waitpid(init, 0)
    _end_like(int(status) if status else LAUNCH_FAILED << 8)


def _guarded(work: Callable[[], None]) -> None:
    """Run ``work`` in a forked process, which never returns."""
    try:
        work()
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        sys.stderr.write(f"sandbox: {where}{error.strerror}\n")
    except BaseException as error:
        sys.stderr.write(f"sandbox: {error!r}\n")
    sys.stderr.flush()
    os._exit(LAUNCH_FAILED)


def _end_like(status: int) -> None:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status))


def _init(entry: Entry, parent: int, tell: int) -> None:
    """Process 1: mounts, root, command; reaps what is orphaned until the command ends."""
    die_with_parent(0)
    if os.getppid() != 0 and os.getppid() != parent:
        os._exit(LAUNCH_FAILED)
    with open("/proc/sys/kernel/hostname", "wb") as file:
        file.write(HOST_NAME)
    mount(b"none", b"/", b"", MS_PRIVATE | MS_REC)
    if "--host" in entry.flags:
        mount(b"proc", b"/proc", b"proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
        os.chdir(entry.tree)
    else:
        _change_root(entry)
    os.umask(0o022)
    running = os.fork()
    if running == 0:
        os.close(tell)
        _guarded(lambda: _execute(entry))
    while True:
        pid, status = os.wait()
        if pid == running:
            os.write(tell, str(status).encode())
            os._exit(0)


def _execute(entry: Entry) -> None:
    """Become the command; its exit statuses for what cannot be executed are the shell's."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    failure: OSError = FileNotFoundError(errno.ENOENT, "not found")
    for program in _candidates(entry):
        try:
            os.execve(program, entry.command, entry.environment)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            failure = error
    sys.stderr.write(f"{entry.command[0]}: {failure.strerror}\n")
    sys.stderr.flush()
    os._exit(NOT_FOUND if failure.errno == errno.ENOENT else NOT_EXECUTABLE)


def _candidates(entry: Entry) -> list[str]:
    """Where a program may lie. (os.execvpe would import a module, whose file is out of reach by now.)"""
    program = entry.command[0]
    if "/" in program:
        return [program]
    path = os.fsdecode(entry.environment.get(b"PATH", os.fsencode(os.defpath)))
    return [f"{directory or '.'}/{program}" for directory in path.split(":")]


def _change_root(entry: Entry) -> None:
    root = os.fsencode(entry.tree)
    if "--discard" in entry.flags:
        root = _throw_away(root)
    else:
        mount(root, root, b"", MS_BIND)
    os.chdir(root)
    if "--mounts" in entry.flags:
        for source, target, writable in entry.binds:
            _bind(os.fsencode(source), os.fsencode(target).lstrip(b"/"), writable)
        if _is_directory(b"proc"):
            mount(b"proc", b"proc", b"proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
        if _is_directory(b"sys"):
            mount(b"sysfs", b"sys", b"sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY)
    if _is_directory(b"dev"):
        _mount_devices()
    pivot_root_here()


def _throw_away(tree: bytes) -> bytes:
    """A view of the tree whose changes lie in memory, and end with this namespace."""
    scratch = os.path.join(os.path.dirname(tree), b"scratch")
    mount(b"tmpfs", scratch, b"tmpfs", MS_NOSUID | MS_NODEV, b"mode=0700")
    os.chdir(scratch)
    for name in (b"upper", b"work", b"tree"):
        os.mkdir(name, 0o755)
    # A relative name needs no escapes in overlayfs' options.
    mount(
        b"overlay",
        b"tree",
        b"overlay",
        MS_NODEV,
        b"lowerdir=../%b,upperdir=upper,workdir=work" % os.path.basename(tree),
    )
    return os.path.join(scratch, b"tree")


def _is_directory(path: bytes) -> bool:
    """Whether a mount point is there, and not a link that would lead the mount elsewhere."""
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False


def _bind(source: bytes, target: bytes, writable: bool) -> None:
    if os.path.realpath(target) != os.path.join(os.getcwdb(), target):
        raise OSError(f"{os.fsdecode(target)}: a link in the image stands where a bind mount belongs")
    mount(source, target, b"", MS_BIND | MS_REC)
    if not writable:
        # One call cannot do both: Linux ignores MS_RDONLY where a bind mount is made.
        mount(b"none", target, b"", MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV)


def _mount_devices() -> None:
    """A small ``/dev``: the usual nodes, terminals of its own, shared memory, links to the open files."""
    os.umask(0)
    mount(b"tmpfs", b"dev", b"tmpfs", MS_NOSUID, b"mode=0755,size=1m")
    for name, (major, minor) in DEVICES.items():
        os.mknod(f"dev/{name}", stat.S_IFCHR | 0o666, os.makedev(major, minor))
    for name, target in LINKS.items():
        os.symlink(target, f"dev/{name}")
    os.mkdir("dev/pts", 0o755)
    options = b"newinstance,ptmxmode=0666,mode=0620,gid=5"
    mount(b"devpts", b"dev/pts", b"devpts", MS_NOSUID | MS_NOEXEC, options)
    os.mkdir("dev/shm", 0o1777)
    mount(b"tmpfs", b"dev/shm", b"tmpfs", MS_NOSUID | MS_NODEV, b"mode=1777")
