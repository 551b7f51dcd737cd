"""The embedded store as Dominator's object server: objects are asked for, sent and fetched by their hashes.

What is added is kept for `GRACE`, until when an image should have it.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from imaginator.srpc import messages as said
from imaginator.srpc.call import Call
from imaginator.srpc.conversation import BLOCK
from imaginator.srpc.server import HASHES, Answering, Methods, Speaking
from imaginator.store.holds import Held
from imaginator.store.images import EmbeddedStore
from imaginator.store.incoming import Added, Incoming
from imaginator.store.objects import Objects
from imaginator.store.workers import Workers

GRACE = 3600.0
"""Seconds from the end of the call that added an object."""

LULL = 0.005
"""Seconds of silence after which a peer is taken to wait for an answer."""

LARGEST = 1 << 40
"""Bytes of an object."""


class ObjectParts(NamedTuple):
    """What the methods stand on; ``directory`` is for what is on its way."""

    clock: IReactorTime
    store: EmbeddedStore
    objects: Objects
    workers: Workers
    directory: Path


class ObjectServer:
    """The methods of the service ``ObjectServer``."""

    def __init__(self, parts: ObjectParts) -> None:
        self._parts = parts

    def methods(self) -> Methods:
        """The table."""
        return {
            "ObjectServer.AddObjects": Speaking(self._add),
            "ObjectServer.CheckObjects": Answering(said.CheckObjectsRequest, self._check, large=True, limits=HASHES),
            "ObjectServer.GetObjects": Speaking(self._get, HASHES),
        }

    async def _check(self, _caller: object, request: said.CheckObjectsRequest) -> said.CheckObjectsResponse:
        sizes = await self._parts.workers.run(self._sizes, request.hashes)
        return said.CheckObjectsResponse(object_sizes=sizes)

    def _sizes(self, hashes: Sequence[bytes]) -> list[int]:
        return [self._size(digest) for digest in hashes]

    def _size(self, digest: bytes) -> int:
        """An object's size, 0 where it is missing."""
        try:
            return self._parts.objects.path(digest).stat().st_size
        except FileNotFoundError:
            return 0

    async def _add(self, call: Call) -> None:
        parts = self._parts
        directory = parts.directory / f"incoming-{secrets.token_hex(6)}"
        async with self._kept() as held, Incoming(parts.objects, parts.workers, directory) as incoming:
            arrival = _Arrival(call, incoming, held)
            while (request := await call.receive(said.AddObjectRequest)).length:
                if request.length > LARGEST:
                    raise ValueError(f"an object of {request.length} bytes, at most {LARGEST} are allowed")
                await arrival.take(request)
            await arrival.end()

    @asynccontextmanager
    async def _kept(self) -> AsyncIterator[Held]:
        """A hold that ends some time after the context."""
        context = self._parts.store.holds.opened()
        held = context.__enter__()
        try:
            yield held
        finally:
            self._parts.clock.callLater(GRACE, context.__exit__, None, None, None)

    async def _get(self, call: Call) -> None:
        request = await call.receive(said.GetObjectsRequest)
        with self._parts.store.holds.opened() as held:
            held.keep_content(request.hashes)
            sizes = await self._parts.workers.run(self._sizes, request.hashes)
            if 0 in sizes:
                missing = request.hashes[sizes.index(0)].hex()
                await call.send(said.GetObjectsResponse(response_string=f"no such object: {missing}"))
                return
            await call.send(said.GetObjectsResponse(object_sizes=sizes), large=True)
            await self._send(call, request.hashes)

    async def _send(self, call: Call, hashes: Sequence[bytes]) -> None:
        gathered = bytearray()
        for digest in hashes:
            descriptor = await self._parts.workers.run(self._parts.objects.open, digest)
            try:
                while block := await self._parts.workers.run(os.read, descriptor, BLOCK):
                    gathered += block
                    if len(gathered) >= BLOCK:
                        await call.conversation.say(bytes(gathered))
                        gathered.clear()
            finally:
                os.close(descriptor)
        await call.conversation.say(bytes(gathered))


class _Arrival:
    """Objects that come in one call: some are published while the next ones come.

    Once one cannot be kept none is, and each is answered with the reason.
    """

    def __init__(self, call: Call, incoming: Incoming, held: Held) -> None:
        self._call = call
        self._incoming = incoming
        self._held = held
        self._expected: list[bytes | None] = []
        self._publishing: list[bytes | None] = []
        self._published: Deferred[Sequence[Added]] | None = None
        self._trouble = ""

    async def take(self, request: said.AddObjectRequest) -> None:
        """Take an object, and answer where the peer waits for that before it goes on."""
        if request.expected_hash is not None:
            self._held.keep_content((request.expected_hash,))
        self._expected.append(request.expected_hash)
        blocks = self._call.blocks(request.length)
        if not self._trouble:
            try:
                await self._incoming.take(request.length, blocks)
            except OSError as error:
                self._trouble = f"it cannot be kept: {error.strerror}"
        async for _ in blocks:  # what follows is only understood after all of it
            pass
        if self._incoming.is_full:
            await self._publish()
        elif await self._call.conversation.is_quiet(LULL):
            await self.end()

    async def end(self) -> None:
        """Answer for all that has come."""
        await self._publish()
        await self._answer()

    async def _publish(self) -> None:
        """Answer for what was being published, and begin to publish what has come since."""
        await self._answer()
        self._publishing, self._expected = self._expected, []
        self._published = self._incoming.publish()

    async def _answer(self) -> None:
        published, self._published = self._published, None
        try:
            added = [] if published is None else await published
        except OSError as error:
            self._trouble = f"it cannot be kept: {error.strerror}"
        publishing, self._publishing = self._publishing, []
        if self._trouble:
            answers = [said.AddObjectResponse(error_string=self._trouble)] * len(publishing)
        else:
            answers = [self._told(*pair) for pair in zip(publishing, added, strict=True)]
        await self._call.conversation.say(b"".join(map(self._call.encoded, answers)))

    def _told(self, wanted: bytes | None, added: Added) -> said.AddObjectResponse:
        self._held.keep_content((added.digest,))
        wrong = wanted is not None and wanted != added.digest
        words = f"its hash is {added.digest.hex()}" if wrong else ""
        return said.AddObjectResponse(error_string=words, hash=added.digest, added=added.new and not wrong)
