"""Limits of a build's commands: control groups, of either version (cgroups(7)).

Version 1 has a hierarchy a controller below `ROOT`; version 2 one for all. A controller that this host does not offer
limits nothing; `available` tells which there are, so that the daemon can say so at start.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path("/sys/fs/cgroup")
FOLDER = "imaginator"
_PROCESSES = "cgroup.procs"


class Limits(NamedTuple):
    """For all processes of one build together: bytes of memory, number of processes; 0 for no limit."""

    memory: int = 0
    processes: int = 0


class ControlGroups:
    """The groups of one build, made at once and removed by ``close``; their name begins with this process' id."""

    def __init__(self, name: str, limits: Limits) -> None:
        self._folders: list[Path] = []
        for folder, file, value in _settings(f"{os.getpid()}-{name}", limits):
            if folder not in self._folders:
                folder.mkdir(parents=True, exist_ok=True)
                self._folders.append(folder)
            (folder / file).write_text(str(value))

    @property
    def entrances(self) -> list[str]:
        """The files that a process writes its id to in order to be limited."""
        return [str(folder / _PROCESSES) for folder in self._folders]

    def close(self) -> None:
        """Remove the groups; the processes in them have ended."""
        for folder in self._folders:
            _remove(folder)
        self._folders = []


def available() -> list[str]:
    """The controllers among memory and pids that this host offers."""
    if _unified():
        return sorted({"memory", "pids"} & set((ROOT / "cgroup.controllers").read_text().split()))
    return [name for name in ("memory", "pids") if (ROOT / name / _PROCESSES).exists()]


def remove_stale() -> None:
    """Remove the groups of builds whose daemon is gone; their processes died with it."""
    parents = [ROOT / FOLDER] if _unified() else [ROOT / name / FOLDER for name in available()]
    for parent in parents:
        if parent.is_dir():
            for folder in parent.iterdir():
                if folder.is_dir() and not Path("/proc", folder.name.partition("-")[0]).exists():
                    _remove(folder)


def _unified() -> bool:
    return (ROOT / "cgroup.controllers").exists()


def _settings(name: str, limits: Limits) -> Iterator[tuple[Path, str, int]]:
    """Folder, file and value of each limit that this host can set."""
    if _unified():
        _delegate()
        files = {"memory": "memory.max", "pids": "pids.max"}
    else:
        files = {"memory": "memory.limit_in_bytes", "pids": "pids.max"}
    values = {"memory": limits.memory, "pids": limits.processes}
    for controller in available():
        if values[controller]:
            folder = ROOT / FOLDER / name if _unified() else ROOT / controller / FOLDER / name
            yield folder, files[controller], values[controller]


def _delegate() -> None:
    """Let version 2's groups below ours have the controllers."""
    (ROOT / FOLDER).mkdir(exist_ok=True)
    wanted = " ".join(f"+{name}" for name in available())
    for folder in (ROOT, ROOT / FOLDER):
        (folder / "cgroup.subtree_control").write_text(wanted)


def _remove(folder: Path) -> None:
    # A process that is still ending keeps it; the next start removes it.
    with contextlib.suppress(OSError):
        folder.rmdir()
