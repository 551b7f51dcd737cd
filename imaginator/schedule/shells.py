"""Shells in the kept trees of failed builds: who may open one, who has one open, and how each ends.

A shell lives no longer than whoever listens to it, than its tree is kept, than the daemon runs. What it does is its
user's business; that it was there is logged.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from twisted.application.service import Service
from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger

from imaginator.build.keeping import Surroundings, Words, opened, talk
from imaginator.model.destinations import EVERYWHERE, Destinations
from imaginator.model.errors import BuildFailed, ImaginatorError, NotFound
from imaginator.model.identity import Caller
from imaginator.model.settings import BootstrapStream
from imaginator.model.shell import ShellEnd, ShellInput, ShellRequest
from imaginator.model.streams import Stream
from imaginator.sandbox.dialogue import Dialogue, Size
from imaginator.sandbox.process import Exit, Reactor
from imaginator.sandbox.sandbox import Workspace
from imaginator.schedule.admission import check_permission
from imaginator.schedule.configuration import Configuration
from imaginator.store.kept import Kept, KeptTree
from imaginator.store.workers import Workers

SHELL = "/bin/sh"
"""What a shell is where nothing else is asked for: every image that runs scripts has it."""

_SIGNALLED = 128
_NEVER_BEGUN = Exit(None, 15, "it had not begun")

Output = Callable[[bytes], None]

_log = Logger()


class ShellParts(NamedTuple):
    """What shells are made of; they reach ``destinations``, as builds do."""

    reactor: Reactor
    workers: Workers
    kept: Kept
    configuration: Configuration
    state_dir: Path
    destinations: Destinations = EVERYWHERE


class Shell:
    """One command in a kept tree, opened by ``user``; a producer of its output, as its dialogue is."""

    def __init__(self, build_id: str, user: str, output: Output) -> None:
        self.shell_id = secrets.token_urlsafe(18)
        self.build_id = build_id
        self.user = user
        self.begun: Deferred[None] = Deferred()
        self._output: Output | None = output
        self._dialogue: Dialogue | None = None
        self._reason = ""
        self._end: ShellEnd | None = None
        self._waiters: list[Deferred[ShellEnd]] = []

    def hear(self, data: bytes) -> None:
        """Output of the command; nobody wants that of one that is being ended."""
        if self._output is not None:
            self._output(data)

    async def run(self, dialogue: Dialogue) -> Exit:
        """Be that command, until it ends."""
        self._dialogue = dialogue
        if self._reason:
            dialogue.stop(self._reason)
        self.begun.callback(None)
        return await dialogue.wait()

    async def take(self, given: ShellInput) -> None:
        """Give the command what was typed; returns when it has taken it. Raises `Refused` while it has not."""
        if self._dialogue is None:
            return
        if given.rows and given.columns:
            self._dialogue.resize(Size(given.rows, given.columns))
        await self._dialogue.write(given.data)
        if given.end:
            self._dialogue.end_input()

    def over(self) -> Deferred[ShellEnd]:
        """Fires with how it ended, when nothing of it is left."""
        waiter: Deferred[ShellEnd] = Deferred()
        self._waiters.append(waiter)
        self._tell()
        return waiter

    def end(self, ended: Exit) -> None:
        """Nothing is left of it."""
        status = ended.code if ended.code is not None else _SIGNALLED + (ended.signal or 0)
        self._end = ShellEnd(status, ended.reason)
        self._tell()

    def _tell(self) -> None:
        if self._end is not None:
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                waiter.callback(self._end)

    async def close(self, reason: str) -> None:
        """End it, and return when nothing of it is left."""
        self._output = None
        self._reason = self._reason or reason
        if self._dialogue is not None:
            self._dialogue.stop(self._reason)
        await self.over()

    def pauseProducing(self) -> None:  # noqa: N802
        """Let the command wait with its output."""
        if self._dialogue is not None:
            self._dialogue.pauseProducing()

    def resumeProducing(self) -> None:  # noqa: N802
        """Let the command say more."""
        if self._dialogue is not None:
            self._dialogue.resumeProducing()

    def stopProducing(self) -> None:  # noqa: N802
        """Whoever listened is gone, and closes it."""


class Shells(Service):
    """The shells that are open, by their ids, which nobody can guess."""

    def __init__(self, parts: ShellParts) -> None:
        self._parts = parts
        self._open: dict[str, Shell] = {}

    async def stopService(self) -> None:  # noqa: N802 - Twisted's name
        """End all of them."""
        super().stopService()
        closing = [Deferred.fromCoroutine(shell.close("the daemon stops")) for shell in self._open.values()]
        await gatherResults(closing)

    def kept_until(self, build_id: str) -> datetime | None:
        """When the tree of a build goes; None where none is kept."""
        return self._parts.kept.until(build_id)

    async def open(self, wanted: ShellRequest, caller: Caller, output: Output) -> Shell:
        """Start a shell in the tree of a build, for whoever may build its stream; ``output`` is called with its output.

        Raises `NotFound`, `NotPermitted`, `Refused` where somebody works there already, `BuildFailed`.
        """
        stream = self._parts.kept.get(wanted.build_id).stream_name
        definition = await self._parts.configuration.find(stream)
        if definition is None:
            raise NotFound(f"unknown stream: {stream}")
        check_permission(stream, definition, caller)
        shell = Shell(wanted.build_id, caller.user, output)
        tree, workspace = self._parts.kept.lend(wanted.build_id, shell.close)
        self._open[shell.shell_id] = shell
        life = Deferred.fromCoroutine(self._live(shell, tree, workspace, definition, wanted))
        life.addErrback(lambda failure: _log.failure("shell in the tree of build {id}", failure, id=shell.build_id))
        await shell.begun
        return shell

    async def _live(
        self,
        shell: Shell,
        tree: KeptTree,
        workspace: Workspace,
        definition: BootstrapStream | Stream,
        wanted: ShellRequest,
    ) -> None:
        """A shell's life, from a sandbox that opens to nothing that is left."""
        ended = _NEVER_BEGUN
        try:
            async with opened(*self._parts[:2], tree, workspace, self._surroundings(definition)) as (sandbox, binds):
                _log.info("{user} opens a shell in the tree of build {id}", user=shell.user, id=shell.build_id)
                ended = await shell.run(talk(sandbox, binds, tree, _words(wanted), shell.hear))
                _log.info(
                    "the shell of {user} in the tree of build {id} has ended: {how}",
                    user=shell.user, id=shell.build_id, how=ended.describe(),
                )  # fmt: skip
        except (ImaginatorError, OSError) as error:
            if shell.begun.called:
                raise
            shell.begun.errback(error if isinstance(error, ImaginatorError) else BuildFailed(str(error)))
        finally:
            self._parts.kept.give_back(shell.build_id)
            del self._open[shell.shell_id]
            shell.end(ended)

    def _surroundings(self, definition: BootstrapStream | Stream) -> Surroundings:
        settings = self._parts.configuration.settings
        is_bootstrap = isinstance(definition, BootstrapStream)
        return Surroundings(settings, self._parts.destinations, self._parts.state_dir, is_bootstrap)

    async def give(self, given: ShellInput, caller: Caller) -> None:
        """Give a shell what its user has typed, and return when it has taken it; raises `NotFound` and `Refused`."""
        shell = self._open.get(given.shell_id)
        if shell is None or shell.user != caller.user:
            raise NotFound("no such shell is open")
        await shell.take(given)


def _words(wanted: ShellRequest) -> Words:
    size = Size(wanted.rows, wanted.columns) if wanted.rows and wanted.columns else None
    return Words(wanted.command or (SHELL,), size, wanted.terminal)
