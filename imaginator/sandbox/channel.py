"""The daemon's end of a holder process: one request at a time, answers in frames (see `frames`)."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IProcessTransport
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from imaginator.model.destinations import Destinations
from imaginator.model.errors import BuildFailed
from imaginator.sandbox.frames import Decoder, encode
from imaginator.sandbox.policy import Policy
from imaginator.sandbox.process import Reactor

Convert = Callable[[Any], Any]

_PROJECT = str(Path(__file__).parents[2])
_BOOT = "import sys; sys.path.insert(0, sys.argv.pop(1)); from imaginator.sandbox.{0} import main; main(*sys.argv[1:])"


def helper(module: str, arguments: Sequence[str]) -> list[str]:
    """The command line of a helper of this room: this interpreter without site packages, which takes 15 ms."""
    return [sys.executable, "-I", "-S", "-c", _BOOT.format(module), _PROJECT, *arguments]


class Channel(ProcessProtocol):
    """A holder: started here, given its tree by ``open``, asked by ``ask``, ended by ``close``.

    It takes a moment to start, which the caller need not wait for.
    """

    def __init__(self, reactor: Reactor) -> None:
        self._answers = Decoder()
        self._parts: list[Any] = []
        self._convert: Convert = tuple
        self._answer: Deferred[Any] | None = None
        self._words = b""
        self._turn = DeferredLock()
        self._ended: Deferred[None] = Deferred()
        self._gone = False
        self.transport: IProcessTransport
        argv = helper("serving", [str(os.getpid())])
        reactor.spawnProcess(self, argv[0], argv, {}, childFDs={0: "w", 1: "r", 2: "r"})

    @property
    def pid(self) -> int:
        """The holder's process."""
        return int(self.transport.pid)

    async def open(
        self, lowers: Sequence[Path], policy: Policy | None, destinations: Destinations, place: Path | None = None
    ) -> None:
        """Let the holder make its tree; where that fails, raises `BuildFailed` and the holder has ended.

        With a policy, the holder's commands are confined, and their network reaches ``destinations``. The tree is the
        directory ``place``, where there is one.
        """
        names = [os.fsencode(lower) for lower in lowers]
        try:
            program = None if policy is None else tuple(policy)
            await self.ask("open", names, program, destinations.plain(), os.fsencode(place) if place else b"")
        except BaseException:
            await self.close()
            raise

    async def ask(self, operation: str, *arguments: object) -> Any:
        """The value of an operation; raises `BuildFailed` with the holder's sentence.

        A caller that is cancelled leaves; the operation goes on to its end, and the next one waits for it.
        """
        return await _abandonable(self._turn.run(self._ask, operation, arguments, tuple, []))

    async def parts(self, operation: str, *arguments: object, convert: Convert) -> list[Any]:
        """The parts of an operation's answer, converted as they come, so that no long list holds up the reactor."""
        parts: list[Any] = await _abandonable(self._turn.run(self._list, operation, arguments, convert))
        return parts

    def _list(self, operation: str, arguments: tuple[object, ...], convert: Convert) -> Deferred[list[Any]]:
        parts: list[Any] = []
        answer = self._ask(operation, arguments, convert, parts)
        return answer.addCallback(lambda _: parts)

    def _ask(self, operation: str, arguments: tuple[object, ...], convert: Convert, parts: list[Any]) -> Deferred[Any]:
        answer: Deferred[Any] = Deferred()
        if self._gone:
            answer.errback(Failure(BuildFailed(self._last_words())))
            return answer
        self._parts = parts
        self._convert = convert
        self._answer = answer
        self.transport.write(encode((operation, arguments)))
        return answer

    async def close(self) -> None:
        """End the holder, and with it its mounts."""
        if not self._gone:
            with contextlib.suppress(ProcessExitedAlready):  # its pipes have not been read to their ends yet
                self.transport.signalProcess("KILL")
            waiting: Deferred[None] = Deferred()
            self._ended.addCallback(lambda _: waiting.callback(None))
            await waiting

    def outReceived(self, data: bytes) -> None:  # noqa: N802
        """Frames of the current answer."""
        for kind, value in self._answers.feed(data):
            if kind == "part":
                self._parts += map(self._convert, value)
            elif kind == "done":
                self._settle(value)
            else:
                self._settle(Failure(BuildFailed(value)))

    def errReceived(self, data: bytes) -> None:  # noqa: N802
        """The words of a holder that breaks."""
        self._words = (self._words + data)[-4096:]

    def processEnded(self, reason: Failure) -> None:  # noqa: N802
        """The holder is gone; nothing more will be answered."""
        self._gone = True
        self._settle(Failure(BuildFailed(self._last_words())))
        self._ended.callback(None)

    def _settle(self, result: Any) -> None:
        answer, self._answer = self._answer, None
        if answer is not None and not answer.called:
            answer.callback(result)

    def _last_words(self) -> str:
        words = self._words.decode(errors="replace").strip().splitlines()
        return f"the build's tree holder has ended: {words[-1] if words else 'killed'}"


def _abandonable(work: Deferred[Any]) -> Deferred[Any]:
    """What ``work`` gives; cancelling this leaves the work alone, so that nobody else gets its answer."""
    waiting: Deferred[Any] = Deferred()
    work.addBoth(lambda result: None if waiting.called else waiting.callback(result))
    return waiting
