"""What the experiments with faults share: builds that are asked for and looked at, and a status page that must stay."""

from __future__ import annotations

import os
import signal
import threading
import time
import urllib.error
import urllib.request
from typing import Any

from imaginator.model.build import State
from tests.integration.test_bad_input import poll
from tests.support.kills import below, processes
from tests.support.live import Live

SLEEP = "sleep 4711"
WAITS = f"{SLEEP} || true"
"""A shell's command at which a build waits until `let_go_on`."""

BETWEEN = 0.1
"""Seconds between two looks at the status page."""

ANSWER = 10.0
"""Seconds in which it is to be there: only a daemon that hangs takes as long."""


class Watcher:
    """Asks for a status page again and again, in a thread; leaving it raises what went wrong."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.seen = 0
        self.slowest = 0.0
        self._problem: Exception | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not (self.seen and self._over.wait(BETWEEN)):
            begun = time.monotonic()
            try:
                with urllib.request.urlopen(self.url, timeout=ANSWER) as answer:
                    answer.read()
            except OSError as problem:
                self._problem = problem
                return
            self.seen += 1
            self.slowest = max(self.slowest, time.monotonic() - begun)

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        if self._problem is not None:
            raise self._problem
        assert self.seen


def submit(live: Live, stream: str, **wishes: object) -> str:
    """Queue a build; its id."""
    wanted: dict[str, Any] = {"ExpiresIn": 3600, "MaxSourceAge": 864000, **wishes}
    return str(live.call("Imaginator.SubmitBuild", StreamName=stream, **wanted)["BuildId"])


def record(live: Live, build: str) -> dict[str, Any]:
    """A build's record."""
    found: dict[str, Any] = live.call("Imaginator.GetBuild", BuildId=build)
    return found


def ended(live: Live, build: str) -> dict[str, Any]:
    """A build's record when it has ended."""
    poll(lambda: State(record(live, build)["State"]).final, f"the end of {build}")
    return record(live, build)


def failure(live: Live, build: str) -> tuple[int, str]:
    """The code and the sentence of a build that has to fail."""
    found = ended(live, build)
    assert found["Failure"], found
    return found["Failure"]["Code"], found["Failure"]["Message"]


def health(live: Live) -> tuple[int, str]:
    """What ``/healthz`` answers."""
    return page(live, "healthz")


def page(live: Live, name: str) -> tuple[int, str]:
    """The status and the text of a page."""
    try:
        with urllib.request.urlopen(f"{live.daemon.url}{name}", timeout=ANSWER) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def at_rest(live: Live, count: int = 1) -> list[int]:
    """The processes at which so many builds wait (`WAITS`), once all of them do."""

    def waiting() -> list[int]:
        found = [process.pid for process in below(live.daemon.pid, processes()) if process.name == "sleep"]
        return [pid for pid in found if _command(pid) == SLEEP]

    poll(lambda: len(waiting()) == count, f"{count} times {WAITS}")
    return waiting()


def let_go_on(live: Live, count: int = 1) -> None:
    """Let so many builds go on, once all of them wait."""
    for pid in at_rest(live, count):
        os.kill(pid, signal.SIGTERM)


def _command(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline") as file:
            return file.read().replace("\0", " ").strip()
    except OSError:
        return ""
