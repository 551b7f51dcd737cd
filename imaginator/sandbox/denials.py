"""Which limits a command met: what the control groups have counted, and what is used up of the disk.

See cgroups(7), and Linux' admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst. Standard library only (see `holder`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from imaginator.sandbox.disk import Disk

_COUNTERS = (
    # file, line, words; version 2 first
    ("memory.events", "oom_kill", "memory: the build's limit was reached, and a process killed for it"),
    ("memory.oom_control", "oom_kill", "memory: the build's limit was reached, and a process killed for it"),
    ("pids.events", "max", "processes: the build has as many as it may"),
)


class Denials:
    """What happens from now on to the processes of some control groups, and to a disk."""

    def __init__(self, entrances: Sequence[str], disk: Disk | None) -> None:
        self._folders = sorted({os.path.dirname(entrance) for entrance in entrances})
        self._disk = disk
        self._before = dict(_counts(self._folders))

    def told(self) -> list[str]:
        """A sentence for each limit that was met."""
        after = dict(_counts(self._folders))
        met = [words for words, count in after.items() if count > self._before.get(words, 0)]
        return met + [f"the build's own disk is full: {what}" for what in (self._disk.used_up() if self._disk else [])]


def _counts(folders: Sequence[str]) -> Iterator[tuple[str, int]]:
    for folder in folders:
        for file, line, words in _COUNTERS:
            try:
                with open(os.path.join(folder, file)) as counters:
                    found = dict(text.split() for text in counters if len(text.split()) == 2)
            except OSError:
                continue
            yield words, int(found.get(line, 0))
