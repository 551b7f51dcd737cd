"""One call on a connection: the values and objects that both sides send each other once it is accepted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, TypeVar

from imaginator.srpc.coders import Coder
from imaginator.srpc.conversation import Conversation, Run
from imaginator.srpc.definitions import Registry
from imaginator.srpc.errors import Refused
from imaginator.srpc.kinds import Message
from imaginator.srpc.reading import Limits

M = TypeVar("M", bound=Message)

WIDE = Limits()
"""What an image with its tree takes, and no more."""


class Call:
    """Each call begins both streams anew; ``caller`` is who calls, on the side that is called.

    ``limits`` are those of the values that are received.
    """

    def __init__(
        self,
        conversation: Conversation,
        coder: Coder,
        registry: Registry,
        run: Run,
        caller: Any = None,
        limits: Limits = WIDE,
    ) -> None:
        self.conversation = conversation
        self.caller = caller
        self._run = run
        self._writing = coder.writing(registry)
        self._reading = coder.reading(limits)

    async def receive(self, message: type[M]) -> M:
        """The next value, which is to be of a type."""
        value: M = await self.conversation.value(self._reading, message)
        return value

    async def send(self, value: Message, *, large: bool = False) -> None:
        """Say a value; a large one is made bytes of in another thread."""
        await self.conversation.say(await self._run(self.encoded, value) if large else self.encoded(value))

    def encoded(self, value: Message) -> bytes:
        """The bytes of a value, to be sent with others; what is encoded first has to go first."""
        return self._writing.encode(value)

    async def accept(self) -> None:
        """Say that all is well so far."""
        await self.conversation.say(b"\n")

    async def accepted(self) -> None:
        """Wait for that; raises `Refused` with the words that come in its place."""
        if words := await self.conversation.line():
            raise Refused(words)

    def blocks(self, size: int) -> AsyncIterator[bytes]:
        """The bytes that follow the last value, in blocks."""
        return self.conversation.blocks(size)
