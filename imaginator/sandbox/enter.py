"""Starts one command of a build in namespaces of its own, forked from the build's holder. Standard library only.

A launcher, forked from the holder, leaves the holder's mount namespace for one of its own together with PID, IPC and
UTS namespaces, and forks an init, which is process 1 there: it makes the mounts, changes the root, and forks the
command. When init ends, the kernel ends everything that the command left running; the mounts are gone with the
namespace, and none of them was ever visible to the holder. The launcher tells how the command ended when all of that
is over.

The steps and their order: namespaces(7), pid_namespaces(7), pivot_root(2).
"""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import signal
import stat
from collections.abc import Callable

from imaginator.sandbox.kernel.mounts import (
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_PRIVATE,
    MS_RDONLY,
    MS_REC,
    MS_REMOUNT,
    mount,
    pivot_root_here,
)
from imaginator.sandbox.kernel.namespaces import (
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUTS,
    unshare,
)
from imaginator.sandbox.kernel.privileges import die_with_parent

TYPE_CHECKING = False  # importing typing would take as long as starting Python does
if TYPE_CHECKING:
    from typing import Any

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
STATUS = 3
"""The launcher's descriptor of the pipe that tells how the command ended."""
LAUNCH_FAILED = 125
FAILED = b"%d" % (LAUNCH_FAILED << 8)
NOT_EXECUTABLE = 126
NOT_FOUND = 127


class Entry:
    """What is asked for.

    ``tree`` is the root directory. The options: ``command`` and its ``environment``; ``host``: the root stays the
    host's, and the command starts in the tree (a bootstrap); ``network``: the host's network, else none; ``mounts``:
    ``/proc``, ``/sys`` and ``binds`` (source, target, writable) are there, else ``/dev`` alone; ``discard``: what the
    command writes is forgotten when it ends; ``groups``: the ``cgroup.procs`` files to join.
    """

    def __init__(self, tree: bytes, options: dict[str, Any]) -> None:
        self.tree = tree
        self.command: list[bytes] = options["command"]
        self.environment: dict[bytes, bytes] = options["environment"]
        self.host: bool = options["host"]
        self.network: bool = options["network"]
        self.mounts: bool = options["mounts"]
        self.discard: bool = options["discard"]
        self.binds: list[tuple[bytes, bytes, bool]] = options["binds"]
        self.groups: list[str] = options["groups"]


def launch(entry: Entry, output: int, status: int) -> int:
    """Start a command that writes to the pipe ``output``; its launcher's process id, which is also its group's.

    The pipe ``status`` gets the status that wait(2) gave of the command, in decimal.
    """
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        _guarded(lambda: _launch(entry, parent, _standard_files(output, status)), lambda: _tell(STATUS, FAILED))
    return pid


def _standard_files(output: int, status: int) -> int:
    """Let input be empty, both outputs ``output``, and nothing else of the holder's be open but ``status``, moved."""
    empty, nothing = os.pipe()
    os.close(nothing)
    high = [fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 16) for number in (empty, output, output, status)]
    for target, source in enumerate(high):
        os.dup2(source, target, inheritable=target <= 2)
    os.closerange(STATUS + 1, os.sysconf("SC_OPEN_MAX"))
    return STATUS


def _launch(entry: Entry, parent: int, status: int) -> None:
    """The launcher: leave for new namespaces, and wait there for the end of everything."""
    die_with_parent(parent)
    os.setsid()
    for group in entry.groups:
        with open(group, "w") as file:
            file.write(str(os.getpid()))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    unshare(NAMESPACES if entry.network else NAMESPACES | CLONE_NEWNET)
    told, tell = os.pipe()
    init = os.fork()
    if init == 0:
        os.close(told)
        os.close(status)
        _guarded(lambda: _init(entry, tell), lambda: _tell(tell, FAILED))
    os.close(tell)
    # The group gets the signal that ends a build: the command itself is to heed it, and this process to tell of it.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    ended = os.read(told, 1) and os.read(told, 16)
    os.waitpid(init, 0)
    _tell(status, ended or b"%d" % signal.SIGKILL)
    os._exit(0)


def _tell(pipe: int, status: bytes) -> None:
    os.write(pipe, status)


def _guarded(work: Callable[[], None], otherwise: Callable[[], None]) -> None:
    """Run ``work`` in a forked process, which never returns; ``otherwise`` comes after the words of its failure."""
    try:
        _attempt(work)
        otherwise()
    finally:
        os._exit(LAUNCH_FAILED)


def _attempt(work: Callable[[], None]) -> None:
    try:
        work()
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _say(f"sandbox: {where}{error.strerror or error}")
    except BaseException as error:
        _say(f"sandbox: {error!r}")


def _say(sentence: str) -> None:
    os.write(2, os.fsencode(sentence) + b"\n")


def _init(entry: Entry, tell: int) -> None:
    """Process 1: mounts, root, command; reaps what is orphaned until the command ends."""
    die_with_parent(0)
    # A launcher that ended before has nobody who would end this one. Its process id is not to be seen from here.
    _tell(tell, b"!")
    with open("/proc/sys/kernel/hostname", "wb") as file:
        file.write(HOST_NAME)
    mount(b"none", b"/", b"", MS_PRIVATE | MS_REC)
    if entry.host:
        mount(b"proc", b"/proc", b"proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
        os.chdir(entry.tree)
    else:
        _change_root(entry)
    os.umask(0o022)
    running = os.fork()
    if running == 0:
        _guarded(lambda: _execute(entry), lambda: None)
    while True:
        pid, status = os.wait()
        if pid == running:
            _tell(tell, b"%d" % status)
            os._exit(0)


def _execute(entry: Entry) -> None:
    """Become the command; its exit statuses for what cannot be executed are the shell's."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and what is ignored would stay so
        signal.signal(number, signal.SIG_DFL)
    failure: OSError = FileNotFoundError(errno.ENOENT, "not found")
    for program in _candidates(entry):
        try:
            os.execve(program, entry.command, entry.environment)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            failure = error
    _say(f"{os.fsdecode(entry.command[0])}: {failure.strerror}")
    os._exit(NOT_FOUND if failure.errno == errno.ENOENT else NOT_EXECUTABLE)


def _candidates(entry: Entry) -> list[bytes]:
    """Where a program may lie. (os.execvpe would import a module, whose file is out of reach by now.)"""
    program = entry.command[0]
    if b"/" in program:
        return [program]
    path = entry.environment.get(b"PATH", os.fsencode(os.defpath))
    return [(directory or b".") + b"/" + program for directory in path.split(b":")]


def _change_root(entry: Entry) -> None:
    root = entry.tree
    if entry.discard:
        root = _throw_away(root)
    else:
        mount(root, root, b"", MS_BIND)
    os.chdir(root)
    if entry.mounts:
        for source, target, writable in entry.binds:
            _bind(source, target.lstrip(b"/"), writable)
        if is_real_directory(b"proc"):
            mount(b"proc", b"proc", b"proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
        if is_real_directory(b"sys"):
            mount(b"sysfs", b"sys", b"sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY)
    if is_real_directory(b"dev"):
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


def is_real_directory(path: bytes) -> bool:
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
