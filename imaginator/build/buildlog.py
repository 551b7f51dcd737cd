"""The log of one build: a file that is written line by line and can be followed while it grows."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from imaginator.build.monitor import Monitor
from imaginator.model.build import Stage, StageTime
from imaginator.model.durations import format_duration, format_size
from imaginator.model.marks import Marks
from imaginator.model.redaction import Redactor

LARGEST_LOG = 64 << 20
"""Bytes of command output that one log keeps; the build's own lines may take it a little further."""

NOTES_RESERVE = 1 << 20
"""Bytes beyond the output's limit that are kept for the build's own lines."""

GAP = b"\n*** something is missing here: the disk did not take it\n"

LONGEST_LINE = 64 << 10
"""Bytes that wait for the end of their line; of a longer one, what may yet turn out to be a secret still waits."""


TOGETHER = 25
"""Readers that are told of news in one turn of the reactor; a thousand would keep everybody else waiting for long."""


class BuildLog(Monitor):
    """A monitor that writes ``path`` without secrets, times the stages and lets many readers follow.

    ``marks`` tell when its lines were written.

    Output appears when its line is whole. Raises ``OSError`` where the file cannot be made; what the disk does not take
    later is lost, and no build fails for it.
    """

    def __init__(self, path: Path, redactor: Redactor, clock: IReactorTime, limit: int = LARGEST_LOG) -> None:
        self.path = path
        self.size = 0
        self.finished = False
        self._file = path.open("xb+", buffering=0)
        self._redactor = redactor
        self._clock = clock
        self._limit = limit
        self._cut = False
        self._partial = b""
        self._gap = b""
        self._begun = clock.seconds()
        self._step = 0.0
        self.marks = Marks()
        self._stage: tuple[Stage, float] | None = None
        self._times: list[StageTime] = []
        self._waiting: dict[Deferred[None], int] = {}
        self._next_turn: IDelayedCall | None = None

    @property
    def stages(self) -> tuple[StageTime, ...]:
        """How long each stage took that is over."""
        return tuple(self._times)

    def stage(self, stage: Stage) -> None:
        """Begin a stage: its name becomes a line of the log, and so does the duration of the one before."""
        self._end_stage()
        self._stage = (stage, self._clock.seconds())
        self._step = self._stage[1] - self._begun
        self.note(f"=== {stage}")

    def log(self, data: bytes) -> None:
        """Keep a command's output; what exceeds the limit is dropped, which is said once."""
        if self._cut:
            return
        whole, newline, rest = data.rpartition(b"\n")
        ready = self._partial + whole + newline if newline else b""
        self._partial = rest if newline else self._partial + rest
        if len(self._partial) > LONGEST_LINE:
            settled = self._redactor.settled(self._partial)
            ready, self._partial = ready + self._partial[:settled], self._partial[settled:]
        self._keep_output(ready)

    def note(self, text: str) -> None:
        """Write one line of the build itself, after the output that came before it."""
        self._end_line()
        line = self._redactor.text(text).encode(errors="surrogateescape") + b"\n"
        if self.size + len(line) <= self._limit + NOTES_RESERVE:
            self._append(line)

    def finish(self) -> None:
        """End the log; every reader is told. A finished log can still be read."""
        if not self.finished:
            self._end_stage()
            self._end_line()
            self._file.close()
            self.finished = True
            self._wake()

    async def read(self, offset: int, limit: int) -> bytes:
        """At most ``limit`` bytes from ``offset`` on; empty where there are none yet."""
        with self.path.open("rb", buffering=0) as file:
            return os.pread(file.fileno(), limit, offset)

    def grown(self, offset: int) -> Deferred[None]:
        """Fires when there is something after ``offset``, or the log is finished; may be cancelled."""
        if self.finished or self.size > offset:
            return succeed(None)
        deferred: Deferred[None] = Deferred(self._waiting.__delitem__)
        self._waiting[deferred] = offset
        return deferred

    def _end_stage(self) -> None:
        if self._stage is not None:
            stage, begun = self._stage
            seconds = self._clock.seconds() - begun
            self._stage = None
            self._times.append(StageTime(stage, seconds))
            self.note(f"=== {stage}: {format_duration(seconds)}")

    def _end_line(self) -> None:
        """Write out a line that will get no end."""
        if self._partial:
            ready, self._partial = self._partial + b"\n", b""
            self._keep_output(ready)

    def _keep_output(self, data: bytes) -> None:
        clean = self._redactor.bytes(data)
        if self.size + len(clean) > self._limit:
            clean = clean[: max(0, self._limit - self.size)]
            clean += f"\n*** more than {format_size(self._limit)}: the rest of the output is not kept\n".encode()
            self._cut, self._partial = True, b""
        if clean:
            self._append(clean)

    def _append(self, data: bytes) -> None:
        """Write what the disk takes; that something is missing is said as soon as there is room for that."""
        whole = self._gap + data
        self.marks.add(self.size, self._clock.seconds() - self._begun, self._step)
        try:
            written = self._file.write(whole)
        except OSError:
            written = 0
        self._gap = b"" if written == len(whole) else GAP
        self.size += written
        self._wake()

    def _wake(self) -> None:
        if self._next_turn is None:
            self._wake_some()

    def _wake_some(self) -> None:
        self._next_turn = None
        ready = [waiter for waiter, offset in self._waiting.items() if self.finished or self.size > offset]
        if len(ready) > TOGETHER:
            self._next_turn = self._clock.callLater(0, self._wake_some)
        for waiter in ready[:TOGETHER]:
            # One may have been cancelled by what another did.
            if self._waiting.pop(waiter, None) is not None:
                waiter.callback(None)
