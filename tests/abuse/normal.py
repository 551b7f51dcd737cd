"""What abuse must not cost: a normal client's time, the daemon's memory, and anything that stays."""

from __future__ import annotations

import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.integration.test_bad_input import poll
from tests.support.live import Live
from tests.support.printed import FIGURES

BETWEEN = 0.05
"""Seconds between two questions."""

ANSWER = 5.0
"""Seconds that an answer may take: what is told is how long it took."""

MEMORY = 200 * 1024 * 1024
"""Bytes that the daemon may need beyond what it needs when idle."""

INCIDENTS = ("Traceback", "incident", "Unhandled")

_GONE = ("06", "0A")
"""States of sockets that are nobody's any more (TIME_WAIT), or listen."""


class Idle(NamedTuple):
    """A daemon at rest: its memory in bytes and its open descriptors."""

    memory: int
    descriptors: int


class NormalClient:
    """Calls a method over a new TLS connection, and asks how the daemon is over plain HTTP, by turns, in a thread."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._over = threading.Event()
        self._problem: Exception | None = None
        self._thread = threading.Thread(target=self._ask)
        self.times: list[float] = []

    def _ask(self) -> None:
        while not self._over.wait(BETWEEN):
            for question in (self._call, self._health):
                begun = time.monotonic()
                try:
                    question()
                except Exception as problem:
                    self._problem = problem
                    return
                self.times.append(time.monotonic() - begun)

    def _call(self) -> None:
        self._live.call("Imaginator.ListBuilds")

    def _health(self) -> None:
        with urllib.request.urlopen(f"{self._live.daemon.url}healthz", timeout=ANSWER) as answer:
            assert b"ok\n" == answer.read()

    def __enter__(self) -> NormalClient:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        if self._problem is not None:
            raise self._problem


@contextmanager
def unharmed(live: Live, what: str, idle: Idle) -> Iterator[None]:
    """Abuse meanwhile: others are answered, memory stays in bounds, all is released and nothing went wrong inside."""
    process = Path(f"/proc/{live.daemon.pid}")
    # The peak begins anew (proc(5)).
    (process / "clear_refs").write_text("5")
    said = live.daemon.log.stat().st_size
    with NormalClient(live) as client:
        yield
        poll(lambda: len(client.times) > 1, "a normal client's answers")
    slowest, peak = max(client.times), memory(process, "VmHWM") - idle.memory
    poll(lambda: descriptors(process) <= idle.descriptors, f"the end of all connections after {what}")
    left = memory(process, "VmRSS") - idle.memory
    FIGURES.append(
        f"{what}: {len(client.times)} normal requests, slowest {slowest * 1000:.0f} ms;"
        f" memory +{peak >> 20} MB at most, +{left >> 20} MB afterwards"
    )
    with live.daemon.log.open() as log:
        log.seek(said)
        words = log.read()
    assert not [word for word in INCIDENTS if word in words], words[-5000:]
    assert slowest < ANSWER
    assert peak < MEMORY


def at_rest(live: Live) -> Idle:
    """What an idle daemon has, once it has answered everything that it will be asked."""
    with NormalClient(live) as client:
        poll(lambda: len(client.times) > 10, "normal requests")
    process = Path(f"/proc/{live.daemon.pid}")
    poll(lambda: not connections(live.daemon.port), "the end of all connections")
    return Idle(memory(process, "VmRSS"), descriptors(process))


def memory(process: Path, name: str) -> int:
    """A figure of /proc/PID/status in bytes."""
    (line,) = (line for line in (process / "status").read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


def descriptors(process: Path) -> int:
    """How many a process has open, but those of the catalogue, of which each of its threads keeps some."""
    return sum(1 for one in (process / "fd").iterdir() if "catalogue.sqlite" not in target(one))


def target(link: Path) -> str:
    """What a link leads to; empty when it is gone."""
    try:
        return str(link.readlink())
    except OSError:
        return ""


def connections(port: int) -> int:
    """How many TCP connections to a port of this host's loopback stand, or are being closed by it."""
    local = f"0100007F:{port:04X}"
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return sum(1 for line in lines if line.split()[1] == local and line.split()[3] not in _GONE)
