"""What a probe is: a way out of a sandbox, tried by root inside of one. Standard library only, as all of this package.

A probe is a function, whose docstring names the way. It returns what it `Reached`, which `Surface` is open, or what it
`Left` for the outside to look at; an `OSError` is the no that it was given; `Lacking` says that there is nothing to try
here. Whatever a probe takes from the host is a bait (see `World`), made for it and worth nothing: it does no harm where
it succeeds.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import platform
import signal
import tempfile
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple, TypeVar

MARK = b"bait of the host: "
"""What every secret of the host begins with; the rest of it differs from one world to the next."""

SECONDS = 20
"""For one probe: longer than the slowest takes on an emulated machine."""

SANDBOX = "sandbox"
ORIGINAL = "original"
PLAIN = "plain"
PIVOTED = "pivoted"
"""Where probes run: in a sandbox; behind `unshare --mount --pid` and `chroot`, as in the original; in a bare chroot; in
a mount namespace of its own with the tree for its root, but nothing else that would hold it."""

T = TypeVar("T")

libc = ctypes.CDLL(None, use_errno=True)


class Surface(str):
    """What is open to attack without being a way out by itself."""


class Reached(str):
    """What of the host was reached, or could be changed."""


class Left(str):
    """What was done or left behind: whether it reaches the host is looked up there, when the probe has ended."""


Finding = Reached | Surface | Left


class Lacking(Exception):
    """Neither yes nor no: this kernel or machine has nothing to try the way on."""


class World(NamedTuple):
    """The baits, as the inside is told of them. Paths, ids and addresses are those of the host."""

    expendable: bool
    """Whether nothing is left of the host in a minute: what cannot be undone may be done."""
    secret: str
    """A file with a mark; one of the directory it lies in is left open by whoever starts the command."""
    handle: str
    """The file's handle in hexadecimal, as of name_to_handle_at(2), and its type."""
    handle_type: int
    program: tuple[int, int]
    """Device and inode of the host's Python."""
    victim: int
    """A process with a mark in its memory, environment and an open file, which ends when it is signalled."""
    address: int
    """Where in the victim's memory the mark lies."""
    descriptor: int
    """The victim's open file."""
    namespaces: dict[str, int]
    """The inodes of the host's namespaces."""
    disk: tuple[int, int]
    """The numbers of a block device that holds a file system with a mark in it."""
    abstract: str
    """The name of an abstract socket whose server sends a mark, as do those that follow."""
    port: int
    hosts: dict[str, str]
    """Addresses that only the host is to reach, by what they are: its servers listen at ``port``."""
    interface: str
    segment: int
    """The key of a System V shared memory segment."""
    queue: str
    key: int
    """The serial number of a key of the kernel's keyrings."""

    @classmethod
    def load(cls, path: Path) -> World:
        """As `dump` wrote it."""
        fields = json.loads(path.read_text())
        return cls(**{**fields, "disk": tuple(fields["disk"]), "program": tuple(fields["program"])})

    def dump(self, path: Path) -> None:
        """Write a file that `load` can read."""
        path.write_text(json.dumps(self._asdict()))


Try = Callable[[World], Finding]


class Probe(NamedTuple):
    """One way out. ``shown_by`` is where it is known to succeed (not in a sandbox), and on ``machine`` whether
    only there: the host's own kernel lacks it, or may not be touched. ``alone``: in a command of its own, since what
    stops it may stop the command.
    """

    name: str
    heading: str
    mechanism: str
    attempt: Try
    shown_by: str
    machine: bool
    alone: bool


PROBES: dict[str, Probe] = {}


def probe(
    heading: str, shown_by: str = ORIGINAL, *, machine: bool = False, alone: bool = False
) -> Callable[[Try], Try]:
    """Let a function be a probe, called as it is and described by its docstring's first line."""

    def register(attempt: Try) -> Try:
        name = attempt.__name__.replace("_", "-")
        mechanism = (attempt.__doc__ or "").partition("\n")[0].rstrip(".")
        assert name not in PROBES, name
        PROBES[name] = Probe(name, heading, mechanism, attempt, shown_by, machine, alone)
        return attempt

    return register


class Result(NamedTuple):
    """What came of a probe: ``outcome`` is reached, surface, left, blocked, lacking, or broken (by its own fault)."""

    name: str
    outcome: str
    detail: str


def run(names: Iterable[str], world: World) -> None:
    """Try probes one after the other, each in a process of its own, and print a line of JSON for each."""
    for name in names:
        print(json.dumps(_forked(PROBES[name], world)), flush=True)


def _forked(one: Probe, world: World) -> Result:
    with open(os.memfd_create("told"), "r+b") as told:  # the disk may be full by then
        child = os.fork()
        if child == 0:
            os.setpgid(0, 0)
            signal.alarm(SECONDS)
            told.write(json.dumps(_result(one, world)).encode())
            told.flush()
            os._exit(0)
        _, status = os.waitpid(child, 0)
        _end_group(child)
        told.seek(0)
        text = told.read()
    if text:
        return Result(*json.loads(text))
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    if number == signal.SIGKILL:
        return Result(one.name, "blocked", "killed")
    return Result(one.name, "broken", f"ended with status {status}")


def _end_group(leader: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def _result(one: Probe, world: World) -> Result:
    try:
        finding = one.attempt(world)
    except OSError as error:
        name = errno.errorcode.get(error.errno or 0, "refused")
        return Result(one.name, "blocked", f"{error.filename or error.strerror}: {name}")
    except Lacking as lack:
        return Result(one.name, "lacking", str(lack))
    except BaseException:
        return Result(one.name, "broken", traceback.format_exc())
    return Result(one.name, type(finding).__name__.lower(), str(finding))


def marked(data: bytes, what: str) -> Reached:
    """Reached, where ``data`` has a mark in it; raises `OSError` (ENOENT) where there is none."""
    start = data.find(MARK)
    if start < 0:
        raise no(errno.ENOENT, f"{what}: nothing of the host's")
    return Reached(f"{what}: {data[start : start + 32].decode(errors='replace')}")


def no(number: int, what: str) -> OSError:
    """The refusal of ``what``."""
    return OSError(number, os.strerror(number), what)


def check(result: int, what: str) -> int:
    """The result of a call of libc; raises `OSError` where it failed."""
    if result < 0:
        raise no(ctypes.get_errno(), what)
    return result


_NUMBERS = {
    "x86_64": {
        "acct": 163, "add_key": 248, "bpf": 321, "delete_module": 176, "finit_module": 313, "init_module": 175,
        "io_setup": 206, "kcmp": 312, "kexec_file_load": 320, "kexec_load": 246, "keyctl": 250, "perf_event_open": 298,
        "pivot_root": 155, "reboot": 169, "request_key": 249, "userfaultfd": 323,
    },
    "aarch64": {
        "acct": 89, "add_key": 217, "bpf": 280, "delete_module": 106, "finit_module": 273, "init_module": 105,
        "io_setup": 0, "kcmp": 272, "kexec_file_load": 294, "kexec_load": 104, "keyctl": 219, "perf_event_open": 241,
        "pivot_root": 41, "reboot": 142, "request_key": 218, "userfaultfd": 282,
    },
}  # fmt: skip
_COMMON = {
    "io_uring_setup": 425, "open_tree": 428, "fsopen": 430, "fsconfig": 431, "clone3": 435, "pidfd_getfd": 438,
}  # fmt: skip


def call(name: str, *arguments: object) -> int:
    """Make a system call by number; pointers are bytes or ctypes objects, and numbers are passed as longs."""
    numbers = _COMMON | _NUMBERS[platform.machine()]
    longs = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    return check(libc.syscall(ctypes.c_long(numbers[name]), *longs), name)


def granted(what: str, make: Callable[[], int]) -> Reached:
    """Reached, where a call that is made with bad arguments complains about those, not about who asks.

    Linux looks at capabilities first, so the complaint tells that good arguments would have been taken.
    """
    try:
        check(make(), what)
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EACCES, errno.ENOSYS):
            raise
    return Reached(f"{what}: permitted")


def open_to_write(*paths: str) -> Reached:
    """Open the first file that is there for writing, and write nothing, which is enough to know that one could."""
    path = next((path for path in paths if os.path.exists(path)), None)
    if path is None:
        raise Lacking(f"no {paths[0]}")
    os.close(os.open(path, os.O_WRONLY))
    return Reached(f"{path} opened for writing")


def first_that_works(values: Iterable[T], attempt: Callable[[T], Finding]) -> Finding:
    """The finding of the first value whose attempt is not refused; the last refusal where all are."""
    refusal: OSError = no(errno.ENOENT, "nothing to try")
    for value in values:
        try:
            return attempt(value)
        except OSError as error:
            refusal = error
    raise refusal


def others() -> list[int]:
    """The processes that /proc shows, but for this one."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()]


def fresh(name: str) -> str:
    """A new directory in the tree's /tmp."""
    return tempfile.mkdtemp(prefix=f"{name}-")
