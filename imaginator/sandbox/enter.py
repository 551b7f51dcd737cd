"""Starts one command of a build in namespaces of its own, forked from the build's holder. Standard library only.

Four processes, each the parent of the next::

    attendant   on the host's side: answers supervised system calls, and tells how the command ended
    launcher    builds the root, becomes root of the build's user namespace and leaves for new namespaces
    init        process 1 there: makes /proc, /sys and /dev, changes the root, gives up what no command may do
    command

When init ends, the kernel ends everything that the command left running; the mounts are gone with the namespace, and
none of them was ever visible to the holder. Each of the four dies with its parent (PR_SET_PDEATHSIG), so all of them
with the daemon. A bootstrap's command has the same processes without a user namespace: it is the host's root, with
mounts, processes and a host name of its own.

The steps and their order: namespaces(7), user_namespaces(7), pid_namespaces(7), pivot_root(2).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import resource
import signal
from collections.abc import Callable

from imaginator.sandbox.attending import FAILED, KILLED, Line, attend, say, tell
from imaginator.sandbox.interior import enter_root
from imaginator.sandbox.kernel.mounts import MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_PRIVATE, MS_REC, mount
from imaginator.sandbox.kernel.namespaces import (
    CLONE_NEWCGROUP,
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
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
    gain_nothing,
    keep_only,
    leave_session_keyring,
)
from imaginator.sandbox.kernel.seccomp import filter_calls
from imaginator.sandbox.rooting import Binding, build_root
from imaginator.sandbox.terminals import open_terminal, show, use

TYPE_CHECKING = False  # importing typing would take as long as starting Python does
if TYPE_CHECKING:
    from typing import Any

    from imaginator.sandbox.confinement import Confinement
    from imaginator.sandbox.denials import Denials
    from imaginator.sandbox.network import Network

HOST_NAME = b"build"
OUT_OF_MEMORY_FIRST = b"1000"
"""See proc(5), oom_score_adj."""
DESCRIPTORS = 1024
"""How many a command has, unless it raises that itself: what programs expect; some close all that they may have."""
NO_CORE = (1, 1)
"""Bytes of core files: none is written, and unlike with 0 the host's program for them is not called (core(5))."""
STATUS = 3
"""The attendant's descriptor of the pipe that tells how the command ended."""
LAUNCH_FAILED = 125
NOT_EXECUTABLE = 126
NOT_FOUND = 127


class Entry:
    """What is asked for.

    ``tree`` is the root directory, and ``confinement`` what the command is held by; without one (a bootstrap) the
    root stays the host's, and the command starts in the tree, with the host's network. ``denials`` knows which limits
    it meets. The options: ``command`` and its ``environment``; ``network``: of the build's networks it gets the one
    with a way out; ``mounts``: ``/proc``, ``/sys`` and the bindings are there, else ``/dev`` alone; ``discard``: what
    the command writes is forgotten when it ends; ``terminal``: it has one, which the daemon takes.
    """

    def __init__(
        self,
        tree: bytes,
        options: dict[str, Any],
        binds: list[Binding],
        confinement: Confinement | None,
        denials: Denials,
        network: Network | None,
    ) -> None:
        self.tree = tree
        self.denials = denials
        self.confinement = confinement
        self.network = network if options["network"] else None
        self.namespaces: list[int] = []
        if confinement and network:
            self.namespaces = [confinement.namespace, network.namespace(options["network"])]
        self.binds = binds
        self.command: list[bytes] = options["command"]
        self.environment: dict[bytes, bytes] = options["environment"]
        self.mounts: bool = options["mounts"]
        self.discard: bool = options["discard"]
        self.terminal: bool = options["terminal"]


def launch(entry: Entry, output: int, status: int, given: int | None = None) -> int:
    """Start a command that writes to the pipe ``output``; its attendant's process id, which is also its group's.

    The pipe ``status`` gets the status that wait(2) gave of the command, in decimal. The command reads the pipe
    ``given``, which with a terminal is for the daemon's word that it has it; without one its input is empty.
    """
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        _guarded(lambda: _attend(entry, parent, (given, output, status)), lambda: tell(STATUS, FAILED))
    return pid


def _attend(entry: Entry, parent: int, pipes: tuple[int | None, int, int]) -> None:
    """The attendant: start the launcher, and stay until everything has ended."""
    die_with_parent(parent)
    os.setsid()
    _take_standard_files(*pipes, entry)
    line = Line()
    attendant = os.getpid()
    launcher = os.fork()
    if launcher == 0:
        os.close(STATUS)
        line.keep_inner()
        _guarded(lambda: _launch(entry, attendant, line), lambda: line.ended(FAILED))
    line.keep_outer()
    # The group gets the signal that ends a build: the command itself is to heed it, and this process to tell of it.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        ended = attend(line, entry.confinement, (lambda outer: show(outer, STATUS, 0)) if entry.terminal else None)
    except (BrokenPipeError, ProcessLookupError):  # they were killed while they handed something over
        ended = KILLED
    os.waitpid(launcher, 0)
    if ended != b"0":
        _attempt(lambda: _tell_denials(entry))
    tell(STATUS, ended)
    os._exit(0)


def _tell_denials(entry: Entry) -> None:
    """Say what the build was denied, after the output of the command that failed."""
    for sentence in entry.denials.told():
        say(f"sandbox: {sentence}")
    for destination in entry.network.refused() if entry.network else ():
        say(f"sandbox: network: {destination} was refused")


def _take_standard_files(given: int | None, output: int, status: int, entry: Entry) -> None:
    """Let input be ``given`` or empty, outputs ``output``, and nothing else of the holder's be open but ``status``.

    They belong to the command's root: ``/dev/stderr`` can then be opened by its path. What leads to the namespaces
    stays open until the command is executed.
    """
    assert all(number > STATUS for number in entry.namespaces)
    source = _empty() if given is None else given
    owner = entry.confinement.first if entry.confinement else 0
    for pipe in (source, output):
        os.fchown(pipe, owner, owner)
    high = [fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 16) for number in (source, output, output, status)]
    for target, source in enumerate(high):
        os.dup2(source, target, inheritable=target <= 2)
    _close_from(STATUS + 1, entry.namespaces)


def _empty() -> int:
    empty, nothing = os.pipe()
    os.close(nothing)
    return empty


def _close_from(first: int, kept: list[int]) -> None:
    for number in [*sorted(kept), os.sysconf("SC_OPEN_MAX")]:
        os.closerange(first, number)
        first = number + 1


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
    except (BrokenPipeError, ConnectionResetError, ProcessLookupError):
        say("sandbox: a process that was to start the command was killed")
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        say(f"sandbox: {where}{error.strerror or error}")
    except BaseException as error:
        say(f"sandbox: {error!r}")


def _launch(entry: Entry, parent: int, line: Line) -> None:
    """The launcher: leave for new namespaces, and wait there for the end of everything."""
    die_with_parent(parent)
    resource.setrlimit(resource.RLIMIT_CORE, NO_CORE)
    highest = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(DESCRIPTORS, highest), highest))
    # Where memory runs out, the build's own processes are to go, not the holder, which is in their control groups.
    with open("/proc/self/oom_score_adj", "wb", buffering=0) as file:
        file.write(OUT_OF_MEMORY_FIRST)
    _leave(entry, parent)
    alive, mark = os.pipe()
    init = os.fork()
    if init == 0:
        os.close(alive)
        _guarded(lambda: _init(entry, line, mark), lambda: line.ended(FAILED))
    os.close(mark)
    line.started(init)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.waitpid(init, 0)
    os._exit(0)


def _leave(entry: Entry, parent: int) -> None:
    """Leave the holder's namespaces; the current directory is what will be the command's root."""
    namespaces = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS
    confinement = entry.confinement
    if confinement is None:
        unshare(namespaces)
        os.chdir(entry.tree)
        return
    unshare(CLONE_NEWNS)
    mount(b"none", b"/", b"", MS_PRIVATE | MS_REC)
    build_root(confinement, entry.tree, entry.discard, entry.binds if entry.mounts else [])
    join(confinement.namespace, CLONE_NEWUSER)
    become_root()
    die_with_parent(parent)  # the change of ids has cleared it
    join(entry.namespaces[1], CLONE_NEWNET)
    unshare(namespaces | CLONE_NEWCGROUP)


def _init(entry: Entry, line: Line, mark: int) -> None:
    """Process 1: mounts, root, privileges, command; reaps what is orphaned until the command ends."""
    die_with_parent(0)
    # A launcher that ended before has nobody who would end this one: it alone has the other end of this pipe.
    os.write(mark, b"!")
    os.close(mark)
    set_host_name(HOST_NAME)
    leave_session_keyring()
    mount(b"none", b"/", b"", MS_PRIVATE | MS_REC)
    terminal: int | None = None
    if entry.confinement is None:
        mount(b"proc", b"/proc", b"proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    else:
        enter_root(entry.mounts)
        terminal = _offer_terminal(line) if entry.terminal else None
        _give_up_privileges(entry.confinement, line)
    os.umask(0o022)
    running = os.fork()
    if running == 0:
        _guarded(lambda: _execute(entry, terminal), lambda: None)
    if terminal is not None:
        os.close(terminal)
    signal.signal(signal.SIGTERM, lambda *_: _pass_on(running))
    while True:
        pid, status = os.wait()
        if pid == running:
            line.ended(b"%d" % status)
            os._exit(0)


def _offer_terminal(line: Line) -> int:
    """The inner end of a new terminal, whose outer end the daemon has by now."""
    outer, inner = open_terminal()
    line.hand_over(b"terminal", outer)
    os.close(outer)
    return inner


def _pass_on(command: int) -> None:
    """Let the command and what it has started know that the build is being ended."""
    with contextlib.suppress(ProcessLookupError):
        try:
            os.killpg(command, signal.SIGTERM)
        except ProcessLookupError:  # it has no group of its own yet
            os.kill(command, signal.SIGTERM)


def _give_up_privileges(confinement: Confinement, line: Line) -> None:
    """For this process and all that it starts; the listener is gone from here before a command could reach for it."""
    keep_only(CUSTOMARY.values())
    gain_nothing()
    listener = filter_calls(confinement.program, supervised=True)
    line.hand_over(b"listener", listener)
    os.close(listener)


def _execute(entry: Entry, terminal: int | None) -> None:
    """Become the command; its exit statuses for what cannot be executed are the shell's."""
    # A session of its own: what it sends to its group is not for the processes outside of its namespaces.
    os.setsid()
    if terminal is not None:
        use(terminal)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)  # what Python, or whoever started the daemon, ignores would stay so
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    failure: OSError = FileNotFoundError(errno.ENOENT, "not found")
    for program in _candidates(entry):
        try:
            os.execve(program, entry.command, entry.environment)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            failure = error
    say(f"{os.fsdecode(entry.command[0])}: {failure.strerror}")
    os._exit(NOT_FOUND if failure.errno == errno.ENOENT else NOT_EXECUTABLE)


def _candidates(entry: Entry) -> list[bytes]:
    """Where a program may lie. (os.execvpe would import a module, whose file is out of reach by now.)"""
    program = entry.command[0]
    if b"/" in program:
        return [program]
    path = entry.environment.get(b"PATH", os.fsencode(os.defpath))
    return [(directory or b".") + b"/" + program for directory in path.split(b":")]
