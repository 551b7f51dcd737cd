"""The daemon's end of a command that somebody talks to: by a terminal, or by the pipe of its standard input.

With a terminal, output and input are the terminal's; what the sandbox itself has to say still comes by the pipe. Either
way output is read only while somebody takes it, and input is written as fast as the command reads it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from twisted.internet import fdesc
from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPullProducer
from twisted.internet.process import ProcessWriter
from twisted.python.failure import Failure
from zope.interface import implementer

from imaginator.model.errors import Refused
from imaginator.sandbox.kernel.seccomp import fetch_descriptor
from imaginator.sandbox.process import OUTPUT, STATUS, Child, Exit, Output, Reactor, Reader
from imaginator.sandbox.terminals import set_size

INPUT = 0
TERMINAL = 4
_TAKEN = b"!"


class Size(NamedTuple):
    """A terminal's size, in characters."""

    rows: int
    columns: int


class Terminal(Reader):
    """The outer end of a terminal: read as any output, and written to."""

    def writeSomeData(self, data: bytes) -> int | BaseException:  # noqa: N802
        """Write as much as the terminal takes now."""
        written: int | BaseException = fdesc.writeToFD(self.fd, data)
        return written


class Writer(ProcessWriter):
    """The pipe of a command's standard input, closed at its end."""

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802
        """The end, ours or the command's."""
        FileDescriptor.connectionLost(self, reason)
        os.close(self.fd)


@implementer(IPullProducer)
class _Words:
    """Something to be written, and when all of it is: also where nobody is left to read it."""

    def __init__(self, data: bytes, stream: FileDescriptor) -> None:
        self.taken: Deferred[None] = Deferred()
        self._data = data
        self._stream = stream
        stream.registerProducer(self, False)

    def resumeProducing(self) -> None:  # noqa: N802
        """Give what there is, and be done when more is asked for."""
        data, self._data = self._data, b""
        if data:
            self._stream.write(data)
        else:
            self._stream.unregisterProducer()
            self.taken.callback(None)

    def stopProducing(self) -> None:  # noqa: N802
        """The command reads no more."""
        self.taken.callback(None)


class Dialogue(Child):
    """A command that is talked to; with a ``size`` it has a terminal.

    It is a producer of its output. However long that takes to be taken, none of it is lost: nothing outlives a
    command of a sandbox that could keep its pipes open.
    """

    drain = None

    def __init__(self, reactor: Reactor, output: Output, size: Size | None) -> None:
        super().__init__(reactor, output)
        self._size = size
        self._words_for_attendant: int | None = None
        self._stream: FileDescriptor | None = None
        self._paused = False

    @contextmanager
    def given(self) -> Iterator[int]:
        """The end that the command reads of a new pipe, which is closed here when the context is left."""
        source, sink = os.pipe()
        if self._size is None:
            self._stream = Writer(self._reactor, self, INPUT, sink)
        else:
            self._words_for_attendant = sink
        try:
            yield source
        finally:
            os.close(source)

    def started(self, pid: int) -> None:
        """The command's attendant is known, which may have a terminal to show."""
        super().started(pid)
        self._take_terminal()

    def childDataReceived(self, descriptor: int, data: bytes) -> None:  # noqa: N802
        """Output, or what the attendant tells."""
        if descriptor == OUTPUT and self._size is not None:
            data = data.replace(b"\n", b"\r\n")  # the other side's terminal is a raw one
        super().childDataReceived(descriptor, data)
        if descriptor == STATUS:
            self._take_terminal()

    def _take_terminal(self) -> None:
        """Take the terminal where the attendant shows one by its number in a line of its own."""
        number, shown, rest = self._status.partition(b"\n")
        if not shown or not self.pid or self._words_for_attendant is None:
            return
        self._status = rest
        with contextlib.suppress(OSError):  # the attendant was killed
            terminal = fetch_descriptor(self.pid, int(number))
            set_size(terminal, *self._size or (0, 0))
            self._stream = self._readers[TERMINAL] = Terminal(self._reactor, self, TERMINAL, terminal)
            if self._paused:
                self._stream.stopReading()
            os.write(self._words_for_attendant, _TAKEN)
        self._hang_up()

    def _hang_up(self) -> None:
        words, self._words_for_attendant = self._words_for_attendant, None
        if words is not None:
            os.close(words)

    def childConnectionLost(self, descriptor: int, reason: Failure | None = None) -> None:  # noqa: N802
        """The end of one of its streams; nothing can be said to a command that has ended."""
        if descriptor == STATUS:
            self._hang_up()
            if isinstance(self._stream, Writer):
                self._stream.loseConnection()
        super().childConnectionLost(descriptor, reason)

    async def write(self, data: bytes) -> None:
        """Give the command something to read; returns when it has been taken, or never will be.

        Raises `Refused` while something else waits to be taken: who gives too fast is not to fill the memory.
        """
        if self._stream is None or self._stream.disconnected or not data:
            return
        if self._stream.producer is not None:
            raise Refused("the shell has not yet taken what it was given before")
        await _Words(data, self._stream).taken

    def stop(self, reason: str) -> Deferred[Exit]:
        """End the command as `Child.stop` does, after hanging up: an interactive shell heeds that, and no SIGTERM."""
        if self._stream is not None:
            self._stream.loseConnection()
        ended = super().stop(reason)
        self.resumeProducing()
        return ended

    def end_input(self) -> None:
        """Let the command read the end of its input; a terminal has none but what is typed."""
        if isinstance(self._stream, Writer):
            self._stream.loseConnection()

    def resize(self, size: Size) -> None:
        """Tell the terminal its size."""
        self._size = self._size and size
        if isinstance(self._stream, Terminal) and self._stream.connected:
            set_size(self._stream.fileno(), *size)

    def pauseProducing(self) -> None:  # noqa: N802
        """Read no more output for now; that of a command which is being ended is read to its end."""
        if self._reason:
            return
        self._paused = True
        for reader in self._readers.values():
            reader.stopReading()

    def resumeProducing(self) -> None:  # noqa: N802
        """Read output again."""
        self._paused = False
        for reader in self._readers.values():
            if not reader.disconnecting:
                reader.startReading()

    def stopProducing(self) -> None:  # noqa: N802
        """Nobody takes output any more; whoever owns this ends it."""
