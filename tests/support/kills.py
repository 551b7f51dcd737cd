"""Builds whose processes are killed, one at a random moment each, and what is left of them afterwards.

A build here is a daemon of its own, a script, with a sandbox in which a command runs without network and one with it.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, Self

from imaginator.sandbox.delegation import ROOT
from imaginator.sandbox.limits import remove_stale
from imaginator.sandbox.sandbox import Profile

DAEMONS = """
import os
import signal
import sys
from pathlib import Path
from twisted.internet.defer import ensureDeferred
from imaginator.model.errors import BuildFailed
from imaginator.sandbox.kernel.privileges import die_with_parent
from imaginator.sandbox.limits import Limits
from imaginator.sandbox.sandbox import Profile, Sandbox, Workspace

LIMITS = Limits(memory=256 << 20, processes=500, disk=64 << 20, inodes=5000, cpu_weight=100)
SCRIPT = "(while :; do sleep 0.01; done) & sleep 1000 & wait"

async def build(reactor, profile, directory, *lowers):
    workspace = Workspace(Path(directory), tuple(map(Path, lowers)))
    sandbox = await Sandbox.open(reactor, workspace, Profile(profile), LIMITS)
    reactor.addSystemEventTrigger("before", "shutdown", lambda: ensureDeferred(sandbox.close()))
    for network in (False, True):
        sandbox.run(["sh", "-c", SCRIPT], {"PATH": "/bin"}, network=network, output=lambda data: None)

def be_daemon(words):
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    from twisted.internet import reactor
    work = lambda: ensureDeferred(build(reactor, *words)).addErrback(lambda failure: failure.trap(BuildFailed))
    reactor.callWhenRunning(work)
    reactor.run()

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
parent = os.getpid()
for line in sys.stdin:
    pid = os.fork()
    if pid:
        print(pid, flush=True)
        continue
    try:
        die_with_parent(parent)
        be_daemon(line.split())
    finally:
        os._exit(0)
"""
"""Forks a daemon for each line, with everything but the reactor imported: 30 ms in place of a second."""

PROJECT = Path(__file__).parents[2]
PATIENCE = 30.0
"""Seconds after which what is left is a leak; a killed build needs a hundredth of one, on a machine with time."""
ATTEMPTS = 10
LONG, SHORT = 0.2, 0.001
"""Seconds between seeing a process and killing it, at most: those that do one thing end by themselves."""


class Process(NamedTuple):
    """A process of the host; ``start`` tells it from a later one with the same id."""

    pid: int
    start: int
    name: str
    parent: int
    session: int


class Role(NamedTuple):
    """A kind of process: how to find those of a daemon's build, and for how many seconds one is let live at most.

    With one that ``takes_build`` everything of the build goes, else what it has started, if ``leads`` anything.
    """

    name: str
    find: Callable[[int], list[Process]]
    longest: float = LONG
    takes_build: bool = False
    leads: bool = True


class Row(NamedTuple):
    """A line of the table; ``slowest`` is in seconds."""

    name: str
    kills: int
    leaks: list[str]
    slowest: float

    def __str__(self) -> str:
        """For people."""
        return f"{self.name}: {self.kills} kills, {len(self.leaks)} leaks, slowest {self.slowest * 1000:.0f} ms"


def processes() -> dict[int, Process]:
    """Every process that is no zombie, by its id."""
    return {found.pid: found for entry in os.listdir("/proc") if entry.isdigit() for found in _process(int(entry))}


def _process(pid: int) -> Iterator[Process]:
    try:
        with open(f"/proc/{pid}/stat", errors="replace") as file:
            before, _, after = file.read().rpartition(")")
    except OSError:
        return
    words = after.split()
    if words[0] not in "ZX":
        yield Process(pid, int(words[19]), before.partition("(")[2], int(words[1]), int(words[3]))


def below(pid: int, table: dict[int, Process]) -> list[Process]:
    """What a process has started, and what that has started."""
    found = [process for process in table.values() if process.parent == pid]
    return found + [process for child in found for process in below(child.pid, table)]


def holders(daemon: int) -> list[Process]:
    """The processes that hold trees."""
    return [process for process in processes().values() if process.parent == daemon]


def attendants(daemon: int) -> list[Process]:
    """Of the holder's processes, those that have become the leaders of sessions."""
    table = processes()
    return [
        process
        for process in below(daemon, table)
        if process.session == process.pid and process.parent in table and table[process.parent].parent == daemon
    ]


def launchers(daemon: int) -> list[Process]:
    """The processes that attendants have started."""
    return _children(attendants(daemon))


def inits(daemon: int) -> list[Process]:
    """The processes that launchers have started."""
    return _children(launchers(daemon))


def _children(parents: list[Process]) -> list[Process]:
    pids = {process.pid for process in parents}
    return [process for process in processes().values() if process.parent in pids]


def programs(name: str) -> Callable[[int], list[Process]]:
    """What finds the host's programs of a name that a build has started."""

    def find(daemon: int) -> list[Process]:
        # Reading of every process would take as long as some of these live.
        recent = [int(entry) for entry in os.listdir("/proc") if entry.isdigit() and int(entry) > daemon]
        named = [found for pid in recent for found in _process(pid) if found.name == name]
        return [process for process in named if _grandparent(process) == daemon]

    return find


def _grandparent(process: Process) -> int:
    return next((parent.parent for parent in _process(process.parent)), 0)


ROLES = (
    Role("holder", holders, takes_build=True),
    Role("attendant", attendants),
    Role("launcher", launchers),
    Role("init", inits),
    Role("slirp4netns", programs("slirp4netns"), leads=False),
    Role("nft", programs("nft"), SHORT, leads=False),
    Role("mkfs.ext4", programs("mkfs.ext4"), SHORT, leads=False),
)
DAEMON = Role("daemon", lambda daemon: list(_process(daemon)), 0.5, takes_build=True)


class Daemons:
    """What starts daemons, whose workspace is below ``folder``; a context."""

    def __init__(self, folder: Path) -> None:
        self.directory = folder / "build"
        self._log = folder / "daemons.log"

    def __enter__(self) -> Self:
        argv = [sys.executable, "-c", DAEMONS]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                argv, cwd=PROJECT, text=True, bufsize=1, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=PATIENCE)

    def start(self, profile: Profile, tree: Path) -> Build:
        """A new daemon with its build; bootstraps have no ``tree``."""
        lowers = [] if profile is Profile.BOOTSTRAP else [tree]
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(profile.value, self.directory, *lowers, file=self._process.stdin)
        return Build(int(self._process.stdout.readline()), self.directory)


class Build:
    """The build of a daemon."""

    def __init__(self, daemon: int, directory: Path) -> None:
        self.pid = daemon
        self._directory = directory

    def wait_for(self, role: Role) -> Process | None:
        """One of the build's processes, as soon as there is any; None where there is none for long."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if found := role.find(self.pid):
                return found[0]
        return None

    def end(self) -> None:
        """Stop the daemon, and wait for its end."""
        for daemon in _process(self.pid):
            os.kill(daemon.pid, signal.SIGTERM)
            while alive([daemon]):
                time.sleep(0.002)

    def remove(self) -> list[str]:
        """Do what the next start does; what is left then."""
        remove_stale()
        shutil.rmtree(self._directory, ignore_errors=True)
        left = [path for path in [self._directory, *self._groups()] if path.exists()]
        return [str(path) for path in left]

    def _groups(self) -> list[Path]:
        return [path for pattern in ("imaginator", "*/imaginator") for path in ROOT.glob(f"{pattern}/{self.pid}.*")]

    def traces(self) -> list[str]:
        """The processes in its control groups, those that see a mount of its workspace, its loop devices."""
        limited = {line for group in self._groups() for line in _lines(group / "cgroup.procs") if line != str(self.pid)}
        return [
            *(f"process {pid} in a control group" for pid in sorted(limited)),
            *(f"process {pid} with a mount" for pid in os.listdir("/proc") if pid.isdigit() and self._is_seen(pid)),
            *(str(device) for device in Path("/sys/block").glob("loop*/loop/backing_file") if self._has(device)),
        ]

    def _is_seen(self, pid: str) -> bool:
        return any(f" {self._directory}" in line for line in _lines(Path("/proc", pid, "mountinfo")))

    def _has(self, device: Path) -> bool:
        return any(line.startswith(str(self._directory)) for line in _lines(device))


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(errors="replace").splitlines()
    except OSError:
        return []


def kill_often(folder: Path, tree: Path, profile: Profile, role: Role, count: int, seed: int) -> Row:
    """Kill a process of ``role`` in as many builds as it takes for ``count`` kills that hit one."""
    chance = random.Random(seed)
    times: list[float] = []
    leaks: list[str] = []
    with Daemons(folder) as daemons:
        for _ in range(ATTEMPTS * count):
            if len(times) < count:
                build = daemons.start(profile, tree)
                taken = kill(build, role, chance.uniform(0, role.longest), leaks)
                times += [] if taken is None else [taken]
    return Row(f"{role.name} of a {profile.value}", len(times), leaks, max(times, default=0.0))


def kill(build: Build, role: Role, delay: float, leaks: list[str]) -> float | None:
    """Kill one process; how long what must end with it took to, None where it had ended before. Adds to ``leaks``."""
    taken = None
    victim = build.wait_for(role)
    time.sleep(delay)
    if victim is not None and lives(victim):
        doomed = below(build.pid if role.takes_build else victim.pid, processes()) if role.leads else []
        os.kill(victim.pid, signal.SIGKILL)
        taken = wait_until_gone(lambda: alive([victim, *doomed]) + (build.traces() if role.takes_build else []), leaks)
    everything = below(build.pid, processes())
    build.end()
    ended = wait_until_gone(lambda: alive(everything) + build.traces(), leaks)
    leaks += build.remove()
    return None if taken is None else max(taken, ended)


def alive(some: list[Process]) -> list[str]:
    """Those that have not ended."""
    return [str(process) for process in some if lives(process)]


def lives(process: Process) -> bool:
    """Whether a process has not ended; it may have another program, parent and session by now."""
    return any(found.start == process.start for found in _process(process.pid))


def wait_until_gone(left: Callable[[], list[str]], leaks: list[str]) -> float:
    """How long it took until nothing was left; what still is after a long time is a leak."""
    start = time.monotonic()
    while found := left():
        if time.monotonic() > start + PATIENCE:
            leaks += found
            break
        time.sleep(0.002)
    return time.monotonic() - start
