"""One build's sandbox: a tree, and the commands that run in it.

Opened once per build. How a command is confined is a matter of the profile, of the holder and of the launcher; nothing
outside this room knows it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import NamedTuple, Self

from twisted.internet.defer import ensureDeferred, gatherResults
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from imaginator.model.destinations import EVERYWHERE, Destinations
from imaginator.model.errors import BuildFailed
from imaginator.sandbox.channel import Channel
from imaginator.sandbox.dialogue import Dialogue, Size
from imaginator.sandbox.disk import IMAGE as DISK
from imaginator.sandbox.enter import LAUNCH_FAILED
from imaginator.sandbox.limits import DYING, ControlGroups, Limits
from imaginator.sandbox.policy import Policy, policy
from imaginator.sandbox.process import Child, Output, Reactor, pipe_to
from imaginator.sandbox.restraint import Restraint
from imaginator.sandbox.tree import Tree


class Profile(Enum):
    """What commands see: the host, as the operator's own bootstrap commands need it, or the tree alone."""

    BOOTSTRAP = "bootstrap"
    MANIFEST = "manifest"


class Workspace(NamedTuple):
    """Where a tree is made: a directory, and the layers beneath, topmost first; without them ``upper`` is it.

    A ``place`` is somebody's own directory, which is changed where it is: the holder sees it as ``upper``.
    """

    directory: Path
    lowers: tuple[Path, ...] = ()
    place: Path | None = None

    @property
    def upper(self) -> Path:
        """What the build writes; it becomes the image's layer."""
        return self.directory / "upper"

    @property
    def tree(self) -> Path:
        """The tree as commands see it; over layers, in the holder's mount namespace only."""
        return self.directory / "merged" if self.lowers else self.upper

    def make(self) -> None:
        """Make the directories that are missing."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self.upper.exists():
            self.upper.mkdir()
            self.upper.chmod(0o755)
        for name in ("scratch", "work", "merged") if self.lowers else ("scratch",):
            (self.directory / name).mkdir(exist_ok=True)


class Bind(NamedTuple):
    """A directory of the host that commands see at ``target``."""

    source: Path
    target: bytes
    writable: bool = False


class Preparation:
    """What a sandbox needs before its tree is known: a holder in the build's control groups, and the build's disk.

    Both take a moment, which the caller need not wait for. Whoever made it closes it, unless a sandbox has taken it.
    ``directory`` is the workspace's, and is there.
    """

    def __init__(self, reactor: Reactor, directory: Path, limits: Limits) -> None:
        self.channel = Channel(reactor)
        self._reactor = reactor
        self._directory = directory
        self._limits = limits
        self._groups: ControlGroups | None = None
        self._restraint: Restraint | None = None
        self._failure: Failure | None = None
        self._preparing = ensureDeferred(self._prepare()).addErrback(self._keep)

    async def _prepare(self) -> None:
        try:
            self._groups = ControlGroups(self._directory.name, self._limits)
        except OSError as error:
            raise BuildFailed(f"the build's limits cannot be set: {error}") from error
        self._restraint = Restraint(self._reactor, self._groups, self._directory / DISK)
        # Linux takes 15 ms to move a process: the holder moves once, and what it forks is born there.
        disk = (self._limits.disk, self._limits.inodes)
        await self.channel.ask("prepare", os.fsencode(self._directory), self._groups.entrances, disk)

    async def ready(self) -> None:
        """Wait for it; raises `BuildFailed`."""
        await self._preparing
        if self._failure is not None:
            self._failure.raiseException()

    def _keep(self, failure: Failure) -> None:
        self._failure = failure

    async def close(self) -> None:
        """End the holder with all that it has started, and remove the groups."""
        restraint, self._restraint = self._restraint, None
        if restraint is not None:
            restraint.stop()
        await self.channel.close()
        groups, self._groups = self._groups, None
        if groups is not None:
            await self._remove(groups)

    async def _remove(self, groups: ControlGroups) -> None:
        """What cannot be removed in time is left to the next start."""
        patience = self._reactor.seconds() + DYING
        while not groups.close() and self._reactor.seconds() < patience:
            await deferLater(self._reactor, 0.01)


class Sandbox:
    """An open sandbox; ``close`` ends everything in it."""

    def __init__(self, reactor: Reactor, preparation: Preparation, profile: Profile) -> None:
        self._reactor = reactor
        self._preparation = preparation
        self._profile = profile
        self._channel = preparation.channel
        self._running: set[Child] = set()
        self.tree = Tree(self._channel)

    @classmethod
    async def open(
        cls,
        reactor: Reactor,
        workspace: Workspace,
        profile: Profile,
        limits: Limits,
        preparation: Preparation | None = None,
        destinations: Destinations = EVERYWHERE,
    ) -> Self:
        """Make the workspace's directories and its tree; raises `BuildFailed` where that fails.

        ``preparation`` is one that was begun before, with the same limits; it is the sandbox's from here on. Commands
        with network reach ``destinations``; a bootstrap's have the host's network.
        """
        workspace.make()
        preparation = preparation or Preparation(reactor, workspace.directory, limits)
        sandbox = cls(reactor, preparation, profile)
        try:
            await preparation.ready()
            await sandbox._channel.open(workspace.lowers, sandbox._policy(), destinations, workspace.place)
        except BaseException:
            await sandbox.close()
            raise
        return sandbox

    def run(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        *,
        network: bool,
        output: Output,
        mounts: bool = True,
        discard: bool = False,
        binds: Sequence[Bind] = (),
    ) -> Child:
        """Start a command, as root and with ``environment`` alone.

        Without ``network`` it has a loopback of its own and nothing else; without ``mounts`` it sees neither ``/proc``
        nor ``/sys`` nor ``binds``, which are mounted in their order, each with what is mounted below its source. With
        ``discard`` whatever it writes to the tree is forgotten when it ends.
        """
        child = Child(self._reactor, output)
        options = {**_options(argv, environment, network, binds), "mounts": mounts, "discard": discard}
        self._follow(child)
        ensureDeferred(self._start(child, options))
        return child

    def talk(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        *,
        network: bool,
        output: Output,
        size: Size | None,
        binds: Sequence[Bind] = (),
    ) -> Dialogue:
        """Start a command that somebody talks to, with a terminal where that has a ``size``; else it is as in `run`."""
        dialogue = Dialogue(self._reactor, output, size)
        options = {**_options(argv, environment, network, binds), "terminal": size is not None}
        self._follow(dialogue)
        ensureDeferred(self._start(dialogue, options))
        return dialogue

    def _follow(self, child: Child) -> None:
        self._running.add(child)
        child.wait().addBoth(lambda _: self._running.discard(child))

    def _policy(self) -> Policy | None:
        return policy() if self._profile is Profile.MANIFEST else None

    async def _start(self, child: Child, options: Mapping[str, object]) -> None:
        """Let the holder start a command; when it cannot, the command has ended with the holder's words."""
        try:
            with pipe_to(child.read) as sink, pipe_to(child.read_status) as status, child.given() as given:
                try:
                    child.started(await self._channel.ask("start", options, sink, status, given))
                except BuildFailed as error:
                    os.write(sink, f"sandbox: {error}\n".encode())
                    os.write(status, b"%d" % (LAUNCH_FAILED << 8))
        except OSError as error:  # no pipe is to be had
            child.not_started(LAUNCH_FAILED, f"sandbox: {error.strerror}\n".encode())

    async def close(self) -> None:
        """End what runs, then the holder with its mounts; nothing is left when this returns."""
        await gatherResults([child.stop("the build ended") for child in list(self._running)])
        await self._preparation.close()


def _options(
    argv: Sequence[str], environment: Mapping[str, str], network: bool, binds: Sequence[Bind]
) -> dict[str, object]:
    """What the holder is told of a command (see `enter.Entry`), and what most of them have."""
    return {
        "command": [os.fsencode(word) for word in argv],
        "environment": {os.fsencode(name): os.fsencode(value) for name, value in environment.items()},
        "network": network,
        "binds": [(os.fsencode(bind.source), bind.target, bind.writable) for bind in binds],
        "mounts": True,
        "discard": False,
        "terminal": False,
    }
