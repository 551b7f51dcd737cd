"""One command in a session of its own: started, drained, waited for, stopped.

A command of the host is started here, prefixed with ``setpriv --pdeathsig KILL``, so that it dies with the daemon, and
``setsid``, which makes its process id that of its session and group whichever way Twisted starts it (posix_spawn or
fork); both execute in place. A command in a tree is started by the tree's holder (see `enter`) and followed here all
the same. Standard input is at end of file, but for what a command of the host may be given; standard output and error
are one pipe, hence one ordered stream.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.interfaces import IDelayedCall, IReactorFDSet, IReactorProcess, IReactorTime
from twisted.internet.process import ProcessReader
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from imaginator.model.errors import BuildFailed, TimedOut

Output = Callable[[bytes], None]

PREFIX = ("/usr/bin/setpriv", "--pdeathsig", "KILL", "/usr/bin/setsid")

DRAIN = 3.0
"""Seconds for which output is awaited after a command's end."""

GRACE = 2.0
"""Seconds between SIGTERM and SIGKILL."""

LAST_LINES = 20
"""How many of a failed command's last lines an error shows."""


class Reactor(IReactorTime, IReactorProcess, IReactorFDSet):
    """What commands need of a reactor."""


class Exit(NamedTuple):
    """How a command ended: an exit status or a signal's number; ``reason`` says why we ended it, where we did."""

    code: int | None
    signal: int | None = None
    reason: str = ""

    @property
    def ok(self) -> bool:
        """Whether it ended by itself and well."""
        return self.code == 0 and not self.reason

    def describe(self) -> str:
        """For people: ``exit status 3``, ``killed by SIGSEGV``, ``stopped: cancelled``."""
        if self.reason:
            return f"stopped: {self.reason}"
        if self.signal is not None:
            return f"killed by {_signal_name(self.signal)}"
        return f"exit status {self.code}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # most of the real-time signals have none
        return f"signal {number}"


OUTPUT = 1
STATUS = 3
"""The name of the pipe through which a holder tells how a command ended: wait(2)'s status in decimal."""

_DIGITS = 5
"""The longest status: it has 16 bits."""


class Reader(ProcessReader):
    """Reads a descriptor for a `Child`, and closes it at its end, which Twisted leaves to its own processes."""

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802
        """The end, ours or the other one's."""
        FileDescriptor.connectionLost(self, reason)
        os.close(self.fd)
        self.proc.childConnectionLost(self.name, reason)


class Child(ProcessProtocol):
    """A running command. ``wait`` may be cancelled freely: only ``stop`` ends the command.

    It becomes its output's reader by ``read``; of ``pid``, which is 0 until it is known, it is told by ``started``.
    ``drain`` is how many seconds after its end output is still awaited: a grandchild may keep the pipe open for ever.
    """

    drain: float | None = DRAIN

    def __init__(self, reactor: Reactor, output: Output) -> None:
        self._reactor = reactor
        self._output = output
        self._waiters: list[Deferred[Exit]] = []
        self._timer: IDelayedCall | None = None
        self._ended: Exit | None = None
        self._exit: Exit | None = None
        self._reason = ""
        self._readers: dict[int, Reader] = {}
        self._status = b""
        self.pid = 0

    def read(self, source: int) -> None:
        """Take the command's output from a pipe, which is closed in the end."""
        self._readers[OUTPUT] = Reader(self._reactor, self, OUTPUT, source)

    def read_status(self, source: int) -> None:
        """Learn from a pipe how the command ended."""
        Reader(self._reactor, self, STATUS, source)

    def given(self) -> AbstractContextManager[int | None]:
        """The pipe that a command in a tree is to read; None for an empty one."""
        return contextlib.nullcontext()

    def started(self, pid: int) -> None:
        """The command runs in the session and group of a process."""
        self.pid = pid
        if self._reason and self._ended is None:
            self._terminate()

    def not_started(self, status: int, words: bytes) -> None:
        """There is no command, and none will be; it counts as one that said ``words`` and exited with ``status``."""
        self._output(words)
        if self._ended is None:
            self._end(Exit(status, None, self._reason))

    def wait(self) -> Deferred[Exit]:
        """Fires with how the command ended, when its output has been handed on."""
        waiter: Deferred[Exit] = Deferred(self._forget)
        if self._exit is None:
            self._waiters.append(waiter)
        else:
            waiter.callback(self._exit)
        return waiter

    def _forget(self, waiter: Deferred[Exit]) -> None:
        if waiter in self._waiters:
            self._waiters.remove(waiter)

    def stop(self, reason: str) -> Deferred[Exit]:
        """End the command: SIGTERM to its group, SIGKILL after a grace period; fires as `wait` does."""
        if self._ended is None and not self._reason:
            self._reason = reason
            if self.pid:
                self._terminate()
        return self.wait()

    def _terminate(self) -> None:
        """Begin to end a command whose process is known; of the others, `started` takes care."""
        self._signal(signal.SIGTERM)
        self._timer = self._reactor.callLater(GRACE, self._signal, signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            # It has not become a session of its own yet, or is gone, which is perhaps not known here yet.
            if self._ended is None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.pid, number)

    def childDataReceived(self, descriptor: int, data: bytes) -> None:  # noqa: N802
        """Some output, or how the command ended."""
        if descriptor == STATUS:
            self._status += data
        else:
            self._output(data)

    def childConnectionLost(self, descriptor: int, _reason: Failure | None = None) -> None:  # noqa: N802
        """The end of the output, or of the process that tells how the command ended."""
        if descriptor == STATUS:
            self._end(_exit_of(self._status, self._reason))
        else:
            self._readers.pop(descriptor, None)
            self._settle()

    def makeConnection(self, transport: Any) -> None:  # noqa: N802
        """A command of the host was started; it may end before Twisted returns."""
        self.started(transport.pid)

    def processEnded(self, reason: Failure) -> None:  # noqa: N802
        """A command of the host has ended; what it started in its session ends now too."""
        assert self.pid  # 0 would mean ourselves
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._end(_exit(reason, self._reason))

    def _end(self, end: Exit) -> None:
        self._cancel_timer()
        self._ended = end
        if self._readers and self.drain is not None:
            self._timer = self._reactor.callLater(self.drain, self._stop_reading)
        self._settle()

    def _stop_reading(self) -> None:
        for reader in self._readers.values():
            reader.loseConnection()

    def _cancel_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def _settle(self) -> None:
        if self._ended is None or self._readers:
            return
        self._cancel_timer()
        self._exit = self._ended
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.callback(self._exit)


def _exit(end: Failure, reason: str) -> Exit:
    if end.check(ProcessDone):
        return Exit(0, None, reason)
    ended = end.value
    assert isinstance(ended, ProcessTerminated), ended
    return Exit(ended.exitCode, ended.signal, reason)


def _exit_of(told: bytes, reason: str) -> Exit:
    """How a command ended, by the status that wait(2) gave; told nothing or nonsense, it counts as killed.

    The command, which is root, can write what it likes into the pipes of its own init.
    """
    status = int(told) if told.isdigit() and len(told) <= _DIGITS else int(signal.SIGKILL)
    if os.WIFEXITED(status):
        return Exit(os.WEXITSTATUS(status), None, reason)
    return Exit(None, os.WTERMSIG(status), reason)


@contextlib.contextmanager
def pipe_to(read: Callable[[int], None]) -> Iterator[int]:
    """A pipe whose source is given to ``read``, and whose sink is closed here when the context is left."""
    source, sink = os.pipe()
    os.set_blocking(source, False)
    read(source)
    try:
        yield sink
    finally:
        os.close(sink)


def _readable(data: bytes) -> int:
    """A descriptor from which ``data`` can be read, however much it is."""
    descriptor = os.memfd_create("given")
    with open(descriptor, "wb", closefd=False) as file:
        file.write(data)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def spawn(
    reactor: Reactor, argv: Sequence[str], environment: Mapping[str, str], *, output: Output, given: bytes = b""
) -> Child:
    """Start a command of the host, in the daemon's directory; it reads ``given``.

    Raises `BuildFailed` where ``environment``'s PATH has no such program.
    """
    program = shutil.which(argv[0], path=environment.get("PATH", os.defpath))
    if program is None:
        raise BuildFailed(f"program not found: {argv[0]}")
    child = Child(reactor, output)
    command = [*PREFIX, program, *argv[1:]]
    read = _readable(given)
    try:
        with pipe_to(child.read) as sink:
            files = {0: read, 1: sink, 2: sink}
            # Given no directory, Twisted spares the fork of a large process (posix_spawn): 1 ms, not 10.
            reactor.spawnProcess(child, PREFIX[0], command, dict(environment), childFDs=files)
    finally:
        os.close(read)
    return child


async def finish(child: Child, *, timeout: float | None = None) -> Exit:
    """Wait for a command's end, for ``timeout`` seconds at most.

    Raises `TimedOut` past that; when it or cancellation comes, the command has ended before this raises.
    """
    waiting = child.wait()
    if timeout is not None:
        waiting.addTimeout(timeout, child._reactor)
    try:
        return await waiting
    except CancelledError:
        await child.stop("cancelled")
        raise
    except Exception as error:
        await child.stop(f"not finished after {timeout:g} s")
        raise TimedOut(f"not finished after {timeout:g} s") from error


class Tail:
    """Keeps the last lines of an output for an error's sentence, and hands all of it on."""

    def __init__(self, output: Output | None = None, limit: int = 8192) -> None:
        self._output = output
        self._limit = limit
        self._data = b""
        self._cut = False

    def __call__(self, data: bytes) -> None:
        """Take some output."""
        data_so_far = self._data + data
        self._cut = self._cut or len(data_so_far) > self._limit
        self._data = data_so_far[-self._limit :]
        if self._output is not None:
            self._output(data)

    def text(self) -> str:
        """The last lines, each whole where there are several: the rest of a torn one may be that of a secret."""
        lines = self._data.decode(errors="replace").strip().splitlines()
        if self._cut and len(lines) > 1:
            del lines[0]
        return "\n".join(lines[-LAST_LINES:])


async def capture(reactor: Reactor, argv: Sequence[str], environment: Mapping[str, str], *, timeout: float) -> bytes:
    """The whole output of a host command; raises `BuildFailed` with its last lines when it fails."""
    parts: list[bytes] = []
    tail = Tail(parts.append)
    child = spawn(reactor, argv, environment, output=tail)
    ended = await finish(child, timeout=timeout)
    if not ended.ok:
        raise BuildFailed(f"{argv[0]}: {ended.describe()}: {tail.text()}")
    return b"".join(parts)
