"""One build from its submission to its end, as the tool sees it."""

from __future__ import annotations

import http.client
import time
from typing import Any

from imaginator.cli.output import Progress
from imaginator.model.build import State
from imaginator.model.errors import NotFound
from imaginator.rpc.client import Away, Client, RpcError

Record = dict[str, Any]
"""A build record as RPC gives it."""

_BLOCK = 64 * 1024
_TAIL = 16 * 1024
TAIL_LINES = 40
"""What is shown of the log of a build that failed."""
_SHORTEST_PAUSE = 0.05
_LONGEST_PAUSE = 1.0
_PATIENCE = 120.0
"""Seconds that a daemon which went away gets to come back: a restart takes a few, that of its host a minute."""

_STAGE_SECONDS = 0.25
"""A log that grows quickly makes the tool ask for the stage no more often than this."""


class Follower:
    """Sees a build to its end: tells its place in the queue, then its stages or its log.

    The daemon may go away and come back meanwhile: it knows the build by its id.
    """

    def __init__(self, client: Client, progress: Progress, show_log: bool) -> None:
        self._client = client
        self._progress = progress
        self._show_log = show_log
        self._offset = 0
        self._tail = b""
        self._asked = 0.0
        self._started: str | None = None

    def follow(self, build_id: str) -> Record:
        """The build's record in its final state; may be called again after an interruption."""
        pause = _SHORTEST_PAUSE
        while True:
            record = self._ask_patiently(build_id)
            if State(record["State"]).final:
                self._progress.end()
                return record
            if record["State"] != State.QUEUED and self._read_log(build_id):
                pause = _SHORTEST_PAUSE
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    @property
    def tail(self) -> str:
        """The last lines of the log, as far as it was read."""
        lines = self._tail.decode(errors="replace").splitlines(keepends=True)
        return "".join(lines[-TAIL_LINES:])

    def _ask_patiently(self, build_id: str) -> Record:
        """The record, when the daemon is there; raises `Away` where it stays away for long."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                return self._ask(build_id)
            except Away:
                if time.monotonic() > deadline:
                    raise
            self._progress.say(f"build {build_id}: the daemon is away")
            time.sleep(_LONGEST_PAUSE)

    def _ask(self, build_id: str) -> Record:
        """The record as it is now, which is told too."""
        self._asked = time.monotonic()
        record: Record = self._client.call("Imaginator.GetBuild", BuildId=build_id)
        if record["StartedAt"] != self._started:  # it was begun anew, and so was its log
            self._started, self._offset, self._tail = record["StartedAt"], 0, b""
        state = State(record["State"])
        if state is State.QUEUED:
            self._progress.say(f"build {build_id}: queued, place {record['Place']}")
        elif not state.final and not self._show_log:
            self._progress.say(f"build {build_id}: {record['Stage'] or record['State']}")
        return record

    def _read_log(self, build_id: str) -> bool:
        """Read the log until the build is finished or the daemon goes away; whether there was anything new."""
        before = self._offset
        try:
            self._follow_log(build_id)
        except RpcError as error:
            if error.code != NotFound.code:
                raise
        except (Away, OSError, http.client.HTTPException):
            pass  # whoever asks for the record next learns whether the daemon comes back
        return self._offset > before

    def _follow_log(self, build_id: str) -> None:
        with self._client.stream(f"/showBuildLog?{build_id}&follow&offset={self._offset}") as log:
            while block := log.read1(_BLOCK):
                self._offset += len(block)
                self._tail = (self._tail + block)[-_TAIL:]
                self._tell(build_id, block)

    def _tell(self, build_id: str, block: bytes) -> None:
        if self._show_log:
            self._progress.log(block)
        elif time.monotonic() - self._asked > _STAGE_SECONDS:
            self._ask(build_id)
