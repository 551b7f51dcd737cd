"""A host's clock that a test sets, for one daemon and what it starts: libfaketime. The host's own is left alone.

Timers go by the monotonic clock, which nobody sets. Times of files are the kernel's, hence the host's.
"""

from __future__ import annotations

from pathlib import Path

LIBRARIES = "*/faketime/libfaketime.so.1"
AHEAD = 5 * 86400
"""Seconds by which the clock is ahead at first: set back, it is still within the life of certificates just made."""


SHARED = ("faketime_shm_", "sem.faketime_sem_")
"""What libfaketime calls the shared memory of a process, before its id."""


def forget_the_dead() -> None:
    """Remove the shared memory of processes that had no time to do so, killed as they were."""
    for memory in Path("/dev/shm").iterdir():
        pid = memory.name.removeprefix(SHARED[0]).removeprefix(SHARED[1])
        if memory.name.startswith(SHARED) and not Path("/proc", pid).exists():
            memory.unlink(missing_ok=True)


class SteppedClock:
    """A clock whose offset lies in ``file``; ``environment`` is that of a daemon which goes by it."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.set(0)

    def set(self, seconds: float) -> None:
        """Let the clock be so far from what it was at first, within a second."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{AHEAD + seconds:+.0f}\n")
        fresh.replace(self._file)

    @property
    def environment(self) -> dict[str, str]:
        """Without a library, the daemon would go by the host's clock: ``StopIteration``."""
        return {
            "LD_PRELOAD": str(next(Path("/usr/lib").glob(LIBRARIES))),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            # Python's threads take turns by timed waits, which else end at once: they would all be busy waiting.
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",
            "NO_FAKE_STAT": "1",
            "FAKE_UTIME": "0",
            "PYTHONPATH": str(Path(__file__).parent / "stepped"),
        }
