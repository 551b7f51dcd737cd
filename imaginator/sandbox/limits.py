"""Limits of a build's commands: control groups, of either version (cgroups(7)).

Version 1 has a hierarchy a controller below `ROOT`; version 2 one for all, of which a part may be ours (see
`delegation`). A controller that this host does not offer limits nothing; `available` tells which there are, so that the
daemon can say so at start.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from imaginator.sandbox import delegation
from imaginator.sandbox.delegation import ROOT

FOLDER = "imaginator"
CONTROLLERS = frozenset({"cpu", "memory", "pids"})
DYING = 5.0
"""Seconds that processes may take to end, on a busy machine, once they were killed."""
FOREIGN = 3600.0
"""Seconds for which an empty group of a process namespace that cannot be seen into is taken for one in use."""
SHARES = 1024
"""What version 1 has in place of a weight of 100 (cpu.shares)."""

_PROCESSES = "cgroup.procs"
_SLICES = {"cpu.cfs_quota_us": ("5000", "-1"), "cpu.max": ("5000 100000", "max 100000")}
"""Microseconds of every 100 ms, a twentieth of a processor and without a limit, as versions 1 and 2 have it."""
_SWAP = frozenset({"memory.memsw.limit_in_bytes", "memory.swap.max"})
"""Kernels without accounting of swap lack these."""


class Limits(NamedTuple):
    """For all processes of one build together; 0 for no limit.

    ``memory`` and ``disk`` are in bytes, ``processes`` and ``inodes`` counts. What limits the disk is what the build
    adds to its tree: bytes, files and directories. ``cpu_weight`` is a build's share of busy processors in proportion
    to the others', from 1 to 10000; 100 is what everything else has (cgroup v2's cpu.weight).
    """

    memory: int = 0
    processes: int = 0
    disk: int = 0
    inodes: int = 0
    cpu_weight: int = 0

    def within(self, wanted: Limits) -> Limits:
        """The limits of a stream that asks for ``wanted`` where these are the operator's: the lower of both."""
        return Limits(*(min((limit for limit in pair if limit), default=0) for pair in zip(self, wanted, strict=True)))


class Forks(NamedTuple):
    """Processes that there are, and how often one was not started since there were as many as there may be."""

    running: int = 0
    refused: int = 0


class ControlGroups:
    """The groups of one build, made at once and removed by ``close``; the name begins as `daemon` says."""

    def __init__(self, name: str, limits: Limits) -> None:
        self._folders: list[Path] = []
        try:
            self._make(f"{daemon(os.getpid())}-{name}", limits)
        except OSError:
            self.close()
            raise

    def _make(self, name: str, limits: Limits) -> None:
        for folder, file, value in _settings(name, limits):
            if folder not in self._folders:
                folder.mkdir(parents=True, exist_ok=True)
                self._folders.append(folder)
            if file not in _SWAP or (folder / file).exists():
                (folder / file).write_text(value)

    @property
    def entrances(self) -> list[str]:
        """The files that a process writes its id to in order to be limited."""
        return [str(folder / _PROCESSES) for folder in self._folders]

    def forks(self) -> Forks:
        """The processes; nothing where they are not counted."""
        for folder in self._folders:
            with contextlib.suppress(FileNotFoundError):
                refused = (folder / "pids.events").read_text().split()[1]
                return Forks(int((folder / "pids.current").read_text()), int(refused))
        return Forks()

    def hold_back(self, held: bool) -> None:
        """Let the processes have little time of the processors, or as much as there is."""
        for file, (little, all_there_is) in _SLICES.items():
            for folder in self._folders:
                if (folder / file).exists():
                    (folder / file).write_text(little if held else all_there_is)

    def close(self) -> bool:
        """Remove the groups; whether all are gone: one whose last process is still ending goes a moment later."""
        self._folders = [folder for folder in self._folders if not _removed(folder)]
        return not self._folders


Values = Callable[[Limits], list[tuple[str, int | str]]]
_VALUES_1: dict[str, Values] = {
    "cpu": lambda limits: [("cpu.shares", limits.cpu_weight * SHARES // 100)],
    "memory": lambda limits: [
        ("memory.limit_in_bytes", limits.memory),
        ("memory.memsw.limit_in_bytes", limits.memory),
    ],
    "pids": lambda limits: [("pids.max", limits.processes)],
}
_VALUES_2: dict[str, Values] = {
    "cpu": lambda limits: [("cpu.weight", limits.cpu_weight)],
    "memory": lambda limits: [("memory.max", limits.memory), ("memory.swap.max", limits.memory and "0")],
    "pids": lambda limits: [("pids.max", limits.processes)],
}


def available() -> list[str]:
    """Those of `CONTROLLERS` that this host offers."""
    if _unified():
        return sorted(CONTROLLERS & _delegated())
    return sorted(name for name in CONTROLLERS if (ROOT / name / _PROCESSES).exists())


def remove_stale() -> None:
    """Remove the groups of builds whose daemon is gone, once what was killed with it has ended; takes a moment.

    Nothing is killed here: a daemon that cannot be seen may be in another process namespace, where a group of its own
    is empty for a moment before a build begins. Such a group goes when it has been empty for long.
    """
    parents = [delegation.top() / FOLDER] if _unified() else [ROOT / name / FOLDER for name in available()]
    for parent in parents:
        if parent.is_dir():
            for folder in parent.iterdir():
                if folder.is_dir() and _is_left(folder):
                    _remove_in_time(folder)


def _unified() -> bool:
    return (ROOT / "cgroup.controllers").exists()


def _settings(name: str, limits: Limits) -> Iterator[tuple[Path, str, str]]:
    """Folder, file and value of each limit that this host can set."""
    unified = _unified()
    values = _VALUES_2 if unified else _VALUES_1
    top = delegation.top() if unified else ROOT
    for controller in available():
        for file, value in values[controller](limits):
            folder = top / FOLDER / name if unified else top / controller / FOLDER / name
            if value:
                yield folder, file, str(value)


def _delegated() -> set[str]:
    """The controllers that version 2's groups below ours have, after every one was asked for."""
    top = delegation.top()
    (top / FOLDER).mkdir(exist_ok=True)
    for group in (top, top / FOLDER):
        delegation.divide(group, CONTROLLERS)
    return set((top / FOLDER / "cgroup.subtree_control").read_text().split())


def daemon(pid: int) -> str:
    """What the names of a process' groups begin with: its id, when it was started, and the process namespace it is of.

    Ids are used again, and have a meaning in their namespace only, which may have this one's control groups.
    """
    # The second field of proc(5)'s stat, a name, may hold anything; the 22nd is the time, in ticks since the boot.
    fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    return f"{pid}.{fields[19]}.{_namespace()}"


def _namespace() -> str:
    return str(Path("/proc/self/ns/pid").stat().st_ino)


def _is_left(folder: Path) -> bool:
    """Whether the daemon of a group is gone."""
    name = folder.name.partition("-")[0]
    pid, *_, namespace = name.split(".")
    try:
        if namespace != _namespace():
            return time.time() - folder.stat().st_mtime > FOREIGN
        return daemon(int(pid)) != name
    except (OSError, ValueError):
        return True


def _remove_in_time(folder: Path) -> None:
    patience = time.monotonic() + DYING
    while not _removed(folder) and time.monotonic() < patience:
        time.sleep(0.01)


def _removed(folder: Path) -> bool:
    """Remove a group unless processes are in it, also such as are ending and are not listed any more."""
    with contextlib.suppress(OSError):
        folder.rmdir()
    return not folder.exists()
