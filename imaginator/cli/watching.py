"""The monitor of a build in this process: ``./build.log``, and what a terminal or a pipe is told meanwhile."""

from __future__ import annotations

from pathlib import Path

from twisted.internet.interfaces import IReactorTime
from twisted.logger import ILogObserver, LogEvent, LogLevel, eventAsText, globalLogBeginner
from zope.interface import implementer

from imaginator.build.buildlog import BuildLog
from imaginator.build.monitor import Monitor
from imaginator.cli.following import TAIL_LINES
from imaginator.cli.output import Progress, note, show_text
from imaginator.model.build import Stage
from imaginator.model.redaction import Redactor

LOG = Path("build.log")

_BLOCK = 1 << 20
_TAIL = 16 << 10


class Watching(Monitor):
    """Writes the log, in place of an older one; shows it as it grows with ``show_log``, else the stages."""

    def __init__(self, redactor: Redactor, clock: IReactorTime, show_log: bool) -> None:
        LOG.unlink(missing_ok=True)
        self._log = BuildLog(LOG, redactor, clock)
        self._reader = LOG.open("rb", buffering=0)
        self._progress = Progress()
        self._show_log = show_log

    def stage(self, stage: Stage) -> None:
        """A stage begins."""
        self._log.stage(stage)
        self._tell()
        if not self._show_log:
            self._progress.say(str(stage))

    def log(self, data: bytes) -> None:
        """Output of a command."""
        self._log.log(data)
        self._tell()

    def note(self, text: str) -> None:
        """One line of the build itself."""
        self._log.note(text)
        self._tell()

    def finish(self, problem: str = "") -> None:
        """End the log; a problem is told with the log's last lines before it, where they were not shown."""
        if problem:
            self._log.note(f"failed: {problem}")
        self._log.finish()
        self._tell()
        self._progress.end()
        if problem and not self._show_log:
            show_text(self._tail())
        self._reader.close()
        if problem:
            note(f"the whole log is in {LOG.absolute()}")
            show_text(f"Error: {problem}\n")

    def _tell(self) -> None:
        """Show what is new, which has no secrets any more."""
        while self._show_log and (data := self._reader.read(_BLOCK)):
            self._progress.log(data)

    def _tail(self) -> str:
        self._reader.seek(max(0, self._log.size - _TAIL))
        lines = self._reader.read(_TAIL).decode(errors="replace").splitlines(keepends=True)
        return "".join(lines[-TAIL_LINES:])


def tell_warnings(monitor: Monitor) -> None:
    """Let the build's log have what a daemon would write to its own, from warnings on."""

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        if event.get("log_level", LogLevel.info) >= LogLevel.warn:
            monitor.note(eventAsText(event, includeTimestamp=False, includeSystem=False))

    globalLogBeginner.beginLoggingTo([observe], discardBuffer=True, redirectStandardIO=False)
