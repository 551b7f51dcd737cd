"""The host's side of a running command: how it hears of it, and answers the system calls that wait for an answer.

A device node that a command makes is made for it, in the build's tree and nowhere else: it is in the image, and of no
use meanwhile, since no file system of a build lets devices work. Every other call that waits fails with EPERM; which
ones did is told where the command fails. Standard library only (see `enter`).
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from imaginator.sandbox.kernel.files import open_beneath
from imaginator.sandbox.kernel.privileges import files_as
from imaginator.sandbox.kernel.seccomp import Request, answer, fetch_descriptor, receive, still_waits

TYPE_CHECKING = False  # importing typing would take as long as starting Python does
if TYPE_CHECKING:
    from collections.abc import Callable

    from imaginator.sandbox.confinement import Confinement

FAILED = b"%d" % (125 << 8)
"""The status, as of wait(2), of a command that could not be started."""
KILLED = b"9"

_LONGEST_PATH = 4096
_MKNOD = 27
"""CAP_MKNOD of capabilities(7)."""
_AT_FDCWD = -100
_MOST_TOLD = 20
_LONGEST_REASON = 200


class Line:
    """Pipes between the attendant and those inside: short messages out, and one word in."""

    def __init__(self) -> None:
        self._messages, self._told = os.pipe()
        self._word, self._go = os.pipe()
        self._rest = b""

    def keep_inner(self) -> None:
        """Keep the ends of those inside."""
        os.close(self._messages)
        os.close(self._go)

    def keep_outer(self) -> None:
        """Keep the attendant's ends."""
        os.close(self._told)
        os.close(self._word)

    def started(self, init: int) -> None:
        """Tell the process id of init, as the host sees it."""
        tell(self._told, b"init %d\n" % init)

    def ended(self, status: bytes) -> None:
        """Tell how the command ended."""
        tell(self._told, b"ended %b\n" % status)

    def hand_over(self, kind: bytes, descriptor: int) -> None:
        """Let the attendant take a descriptor of this process; returns when it has."""
        tell(self._told, b"%b %d\n" % (kind, descriptor))
        os.read(self._word, 1)

    def taken(self) -> None:
        """Let the one that handed over go on."""
        os.write(self._go, b"!")

    def fileno(self) -> int:
        """What to wait on for messages."""
        return self._messages

    def listen(self, known: dict[bytes, bytes]) -> bool:
        """Add what was told since to ``known``, by its kind; False at the end."""
        data = os.read(self._messages, 4096)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for message in lines:
            kind, _, value = message.partition(b" ")
            known.setdefault(kind, value)
        return data != b""


def tell(pipe: int, words: bytes) -> None:
    """Write a few words, in one piece."""
    os.write(pipe, words)


def say(sentence: str) -> None:
    """A line after the output of a command that has ended."""
    with contextlib.suppress(OSError):  # nobody may read it any more
        os.set_blocking(2, True)  # the command may have changed that
        os.write(2, os.fsencode(sentence) + b"\n")


def attend(line: Line, confinement: Confinement | None, show: Callable[[int], None] | None = None) -> bytes:
    """Stay until everything inside has ended; how the command ended, as of wait(2).

    Of what comes over the line each kind counts once. The terminal, if there is to be one that the daemon is shown, and
    the listener are handed over before there is a command.
    """
    known: dict[bytes, bytes] = {}
    supervisor: Supervisor | None = None
    waiting = select.poll()
    waiting.register(line, select.POLLIN)
    while True:
        for descriptor, event in waiting.poll():
            if supervisor is not None and descriptor == supervisor.listener:
                if event & select.POLLHUP or not supervisor.answer_next():
                    waiting.unregister(supervisor.listener)
                    # Who should make such a call after all gets an answer from the kernel (ENOSYS).
                    os.close(supervisor.listener)
            elif not line.listen(known):
                return _ended(known, supervisor)
        if show is not None and known.keys() >= {b"init", b"terminal"}:
            show(fetch_descriptor(int(known[b"init"]), int(known[b"terminal"])))
            show = None
            line.taken()
        if confinement is not None and supervisor is None and known.keys() >= {b"init", b"listener"}:
            init = int(known[b"init"])
            supervisor = Supervisor(fetch_descriptor(init, int(known[b"listener"])), init, confinement)
            waiting.register(supervisor.listener, select.POLLIN)
            line.taken()


def _ended(known: dict[bytes, bytes], supervisor: Supervisor | None) -> bytes:
    ended = known.get(b"ended", KILLED)
    if supervisor is not None and ended != b"0":
        supervisor.tell_refusals()
    return ended


class Supervisor:
    """Answers what comes to a listener; process ``init`` has the root that the command got."""

    def __init__(self, listener: int, init: int, confinement: Confinement) -> None:
        self.listener = listener
        self._init = init
        self._places: set[str] = set()
        self._supervised = confinement.supervised
        self._refused: dict[str, int] = {}

    def answer_next(self) -> bool:
        """Answer the next call; False when no process is left that could make one."""
        try:
            request = receive(self.listener)
        except OSError:
            return False
        if request is not None:
            answer(self.listener, request, self._decide(request))
        return True

    def tell_refusals(self) -> None:
        """Say which calls were refused, after the output of the command that failed."""
        told = sorted(self._refused, key=lambda what: -self._refused[what])[:_MOST_TOLD]
        if told:
            words = ", ".join(
                f"{what} ({self._refused[what]} times)" if self._refused[what] > 1 else what for what in told
            )
            say(f"sandbox: not permitted in a build: {words}")

    def _decide(self, request: Request) -> int:
        """The errno for a call, 0 where it was done."""
        name = self._supervised.get((request.machine, request.number), f"call {request.number}")
        if name not in ("mknod", "mknodat"):
            self._refuse(f"{name} by {_program(request.pid)}")
            return errno.EPERM
        try:
            self._places = self._places or _own_mounts(self._init)
            make_node(self.listener, request, name, self._places)
        except OSError as error:
            if error.errno == errno.EPERM:
                self._refuse(f"{name} by {_program(request.pid)}")
            return error.errno or errno.EPERM
        except Exception as error:  # whatever one call holds, the next one is to be answered
            self._refuse(f"{name} by {_program(request.pid)}: {error!r}"[:_LONGEST_REASON])
            return errno.EINVAL
        return 0

    def _refuse(self, what: str) -> None:
        if what in self._refused or len(self._refused) < 1000:
            self._refused[what] = self._refused.get(what, 0) + 1


def _program(pid: int) -> str:
    """What a process calls itself, which may be anything."""
    try:
        with open(f"/proc/{pid}/comm", "rb") as file:
            name = file.read().strip().decode(errors="replace")
    except OSError:
        return "a process"
    return name if name.isprintable() else ascii(name)


def make_node(listener: int, request: Request, name: str, places: set[str]) -> None:
    """Make the device node that a command asks for, as mknod(2) or mknodat(2) would for the host's root.

    Raises `OSError` with the errno for the command: EPERM outside of the mounts ``places``, such as in a directory of
    the host that is bound into the tree.
    """
    directory, path, mode, device = mknod_arguments(name, request.arguments)
    status = _status(request.pid)
    if device == 0 or not int(status[b"CapEff"], 16) >> _MKNOD & 1:
        # A node 0:0 would hide a file of a layer: Linux lets anybody make one.
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
    owner, group = (int(status[kind].split()[3]) for kind in (b"Uid", b"Gid"))
    target = _absolute(request.pid, directory, _read_path(request.pid, path))
    with _parent_of(request.pid, target) as place:
        if not still_waits(listener, request):
            return
        if _mount_of(place) not in places:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        with files_as(owner, group):
            os.mknod(os.path.basename(target), mode & ~int(status[b"Umask"], 8), device, dir_fd=place)


def mknod_arguments(name: str, arguments: tuple[int, ...]) -> tuple[int, int, int, int]:
    """The directory's descriptor, the address of the path, mode and device, from a call's registers."""
    directory, path, mode, device = arguments[:4] if name == "mknodat" else (_AT_FDCWD, *arguments[:3])
    # An int fills half of a register: what is in the other half differs from one libc to the next.
    (descriptor,) = struct.unpack("i", struct.pack("I", directory & 0xFFFFFFFF))
    return descriptor, path, mode & 0xFFFF, device & 0xFFFFFFFF


@contextmanager
def _parent_of(pid: int, path: bytes) -> Iterator[int]:
    """The directory of a path of another process, no matter what its links say; never outside of its root."""
    root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        place = open_beneath(root, os.path.dirname(path), os.O_PATH | os.O_DIRECTORY)
    finally:
        os.close(root)
    try:
        yield place
    finally:
        os.close(place)


def _read_path(pid: int, address: int) -> bytes:
    """A string of another process, which may end where its memory does."""
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        page = -address % _LONGEST_PATH or _LONGEST_PATH
        data = _memory_at(memory.fileno(), page, address)
        if b"\0" not in data:
            data += _memory_at(memory.fileno(), _LONGEST_PATH, address + page)
    text, end, _ = data.partition(b"\0")
    if not end or len(text) >= _LONGEST_PATH:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
    if not text:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    return text


def _memory_at(memory: int, size: int, address: int) -> bytes:
    try:
        return os.pread(memory, size, address)
    except (OSError, OverflowError):  # nothing is there, or nothing can be
        raise OSError(errno.EFAULT, os.strerror(errno.EFAULT)) from None


def _status(pid: int) -> dict[bytes, bytes]:
    """Bytes: a process may call itself what it likes."""
    with open(f"/proc/{pid}/status", "rb") as file:
        return {name: value.strip() for name, _, value in (line.partition(b":") for line in file)}


def _absolute(pid: int, directory: int, path: bytes) -> bytes:
    """A path as the root directory of the process has it: that may be one that the command changed to itself."""
    path = path.rstrip(b"/") or b"/"
    if path.startswith(b"/"):
        return path
    root = os.readlink(f"/proc/{pid}/root".encode())
    start = os.readlink(f"/proc/{pid}/{'cwd' if directory == _AT_FDCWD else f'fd/{directory}'}".encode())
    if root != b"/" and (start == root or start.startswith(root + b"/")):
        start = start[len(root) :]
    return os.path.join(start or b"/", path)


def _own_mounts(init: int) -> set[str]:
    """The mounts of the tree and of its ``/dev``: on neither does a device node work."""
    root = os.open(f"/proc/{init}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found = {_mount_of(root)}
        with contextlib.suppress(OSError):
            devices = open_beneath(root, b"/dev", os.O_PATH | os.O_DIRECTORY, links=False)
            found.add(_mount_of(devices))
            os.close(devices)
        return found
    finally:
        os.close(root)


def _mount_of(descriptor: int) -> str:
    with open(f"/proc/self/fdinfo/{descriptor}") as file:
        return next(line for line in file if line.startswith("mnt_id:"))
