"""Asks packagers what they would install now: each source image's once a round, however many streams want to know.

An image whose build saw the same package index needs no other answer: the same packager over the same tree does the
same. Where the index differs, a stream that brings files or runs scripts before its packages are installed, which may
be sources or preferences of the packager, is asked alone, over a tree that has them.
"""

from __future__ import annotations

from collections import OrderedDict
from contextlib import AsyncExitStack
from typing import NamedTuple

from twisted.internet.interfaces import IReactorTime

from imaginator.build.sharing import Shared
from imaginator.build.survey import Plan, Prepare, Survey, Surveyor, deviations
from imaginator.build.turns import Turns
from imaginator.model.errors import ImaginatorError
from imaginator.model.fingerprint import digest, in_short
from imaginator.model.image import Image
from imaginator.model.packagers import PackagerType
from imaginator.model.settings import Settings
from imaginator.schedule.spare import SpareSlots

REMEMBERED = 10_000
"""Answers of packagers that are remembered: the same question to the same image with the same index has the same."""


_OF_ONE_STREAM = ("IMAGE_STREAM", "IMAGE_STREAM_DIRECTORY_NAME", "IMAGE_STREAM_LEAF_NAME", "MANIFEST_GIT_COMMIT_ID")


class Alone(NamedTuple):
    """How a stream's own tree is made ready for its packager, which then runs with ``environment``."""

    environment: dict[str, str]
    prepare: Prepare


class Question(NamedTuple):
    """What would be installed over ``source`` for a list of ``names``; its packager runs with ``environment``.

    ``alone`` is for streams that bring something of their own before. See `question_of`.
    """

    source: Image
    environment: dict[str, str]
    packager: PackagerType
    names: tuple[str, ...]
    alone: Alone | None = None

    @property
    def survey(self) -> str:
        """Names the survey that can answer it."""
        return f"{self.source.name} {digest(self.environment)}"


def question_of(
    settings: Settings,
    source: Image,
    environment: dict[str, str],
    names: tuple[str, ...] = (),
    alone: Alone | None = None,
) -> Question | None:
    """The question for a build with this environment; None where the packager of ``source`` cannot answer any.

    What is one stream's alone in an environment is left out, so that streams share a survey.
    """
    packager = settings.packager_types.get(source.packager_type)
    if packager is None or not (packager.index_command or packager.simulate_command):
        return None
    common = {name: value for name, value in environment.items() if name not in _OF_ONE_STREAM}
    return Question(source, common, packager, names, alone)


class Line:
    """Those who wait for the packager of one image; its survey is open as long as there are any.

    ``problem`` is why it cannot be opened: one try a round is enough for all of them.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self.turns = Turns(clock)
        self.waiting = 0
        self.index: str | None = None
        self.opened: Survey | None = None
        self.problem: ImaginatorError | None = None
        self.stack = AsyncExitStack()
        self._closing: list[Shared[None]] = []

    def close(self) -> None:
        """Begin to close the survey: nobody waits for that but the end of the round."""
        stack, self.stack, self.opened = self.stack, AsyncExitStack(), None
        self._closing.append(Shared(stack.aclose()))

    async def closed(self) -> None:
        """Wait until nothing is left of it."""
        for one in self._closing:
            await one.result()


class Inquiry:
    """Asks by ``surveyor``; each survey that is open has one of the ``slots``, and none that is waits for another."""

    def __init__(self, clock: IReactorTime, surveyor: Surveyor, slots: SpareSlots) -> None:
        self._clock = clock
        self._surveyor = surveyor
        self._slots = slots
        self._plans: OrderedDict[str, Plan] = OrderedDict()

    async def differences(self, image: Image, question: Question, lines: dict[str, Line]) -> str:
        """How the packages of ``image`` differ from the answer, in a few words; empty where they do not.

        ``lines`` are those of the round. Raises an `ImaginatorError` where the packager cannot be asked.
        """
        line = lines.setdefault(question.survey, Line(self._clock))
        if line.index is not None and _saw(image, line.index):
            return ""
        answer = await self._in_line(line, image, question)
        if answer is None:
            answer = await self._alone(image, question)
        return answer

    async def _in_line(self, line: Line, image: Image, question: Question) -> str | None:
        """The answer that the others get, too; None where it cannot be that of this stream."""
        line.waiting += 1
        try:
            async with line.turns.turn():
                return await self._answer(line, image, question)
        finally:
            line.waiting -= 1
            if not line.waiting:
                line.close()

    async def _answer(self, line: Line, image: Image, question: Question) -> str | None:
        if line.index is None:
            line.index = (await self._open(line, question)).index
        if _saw(image, line.index):
            return ""
        return None if question.alone else _told(await self._plan(line, line.index, question), image)

    async def _alone(self, image: Image, question: Question) -> str:
        assert question.alone is not None
        environment, prepare = question.alone
        async with (
            self._slots.turn(),
            self._surveyor.opened(question.source, question.packager, environment, prepare) as survey,
        ):
            return "" if _saw(image, survey.index) else _told(await survey.plan(question.names), image)

    async def _plan(self, line: Line, index: str, question: Question) -> Plan:
        key = _key(question, index)
        if index and key in self._plans:
            self._plans.move_to_end(key)
            return self._plans[key]
        survey = await self._open(line, question)
        plan = self._plans[_key(question, survey.index)] = await survey.plan(question.names)
        if len(self._plans) > REMEMBERED:
            self._plans.popitem(last=False)
        return plan

    async def _open(self, line: Line, question: Question) -> Survey:
        if line.problem is not None:
            raise line.problem
        if line.opened is None:
            async with AsyncExitStack() as stack:
                await stack.enter_async_context(self._slots.turn())
                line.opened = await self._opened(stack, line, question)
                line.stack = stack.pop_all()
        return line.opened

    async def _opened(self, stack: AsyncExitStack, line: Line, question: Question) -> Survey:
        opened = self._surveyor.opened(question.source, question.packager, question.environment)
        try:
            return await stack.enter_async_context(opened)
        except ImaginatorError as error:
            line.problem = error
            raise


def _key(question: Question, index: str) -> str:
    """Names a question to a packager that sees this index."""
    return digest((question.survey, index, question.packager.simulate_command, question.names))


def _saw(image: Image, index: str) -> bool:
    """Whether the build of an image saw this index."""
    return bool(index) and image.fingerprint is not None and image.fingerprint.index == index


def _told(plan: Plan, image: Image) -> str:
    changed = deviations(plan, image)
    return f"packages: {in_short(changed)}" if changed else ""
