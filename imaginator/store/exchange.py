"""Objects and images between this store and an image server, by one `imaginator.srpc.client.Client`.

Each step may be done again when the connection breaks, and then goes on where it stood: what has arrived is not sent
again, and an image is added once, under a name that nobody else has.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from twisted.internet.defer import Deferred

from imaginator.model.errors import StoreCorrupt, Unreachable
from imaginator.srpc import filesystem as wire
from imaginator.srpc import messages as said
from imaginator.srpc.call import Call
from imaginator.srpc.client import Client, M
from imaginator.srpc.conversation import BLOCK
from imaginator.srpc.errors import Broken, Refused
from imaginator.srpc.kinds import Message
from imaginator.store.incoming import Incoming
from imaginator.store.objects import Objects
from imaginator.store.workers import Workers

_ASKED_AT_ONCE = 10_000
"""Hashes in one question."""

_FETCHED_AT_ONCE = 256 << 20
"""Bytes of objects that one call fetches, so that a broken one costs no more."""


class ExchangeParts(NamedTuple):
    """What an exchange stands on; ``directory`` is for objects on their way."""

    client: Client
    objects: Objects
    workers: Workers
    directory: Path


class Exchange:
    """Asks, fetches and sends; raises `Unreachable` where the server stays away, or does not what it should."""

    def __init__(self, parts: ExchangeParts) -> None:
        self._parts = parts
        self._client = parts.client

    async def find_latest(self, wanted: said.FindLatestImageRequest) -> str | None:
        """The name of a directory's latest image, empty where it has none; None where there is no such directory."""
        try:
            found = await self._ask("ImageServer.FindLatestImage", wanted, said.FindLatestImageResponse)
        except Refused as refused:
            if "unknown directory" in str(refused):
                return None
            raise self._unwilling(refused) from None
        if "unknown directory" in found.error:
            return None
        if found.error:
            raise self._unwilling(found.error)
        return found.image_name

    async def make_directory(self, name: str) -> None:
        """Make a directory with those above it."""
        request = said.MakeDirectoryRequest(name, make_all=True)
        await self._willing("ImageServer.MakeDirectory", request, said.MakeDirectoryResponse)

    async def image(self, name: str, *, tree: bool = True) -> wire.Image | None:
        """An image with its tree, or without; None where there is none."""
        request = said.GetImageRequest(name, ignore_filesystem=not tree)
        return (await self._willing("ImageServer.GetImage", request, said.GetImageResponse)).image

    async def add_image(self, name: str, image: wire.Image) -> None:
        """Add an image; raises `Refused` with the server's words, such as that there is one of this name."""
        request = said.AddImageRequest(name, image)
        await self._ask("ImageServer.AddImage", request, said.AddImageResponse, large=True)

    async def change_expiry(self, request: said.ChangeImageExpirationRequest) -> None:
        """Let an image expire at another time; raises `Refused`."""
        answer = await self._ask("ImageServer.ChangeImageExpiration", request, said.ChangeImageExpirationResponse)
        if answer.error:
            raise Refused(answer.error)

    async def delete_image(self, name: str) -> None:
        """Delete an image; raises `Refused`."""
        await self._ask("ImageServer.DeleteImage", said.DeleteImageRequest(name), said.DeleteImageResponse)

    async def missing(self, digests: Iterable[bytes]) -> list[bytes]:
        """Those of some objects that the server does not have, sorted."""
        wanted = sorted(digests)
        found: list[bytes] = []
        for start in range(0, len(wanted), _ASKED_AT_ONCE):
            hashes = wanted[start : start + _ASKED_AT_ONCE]
            request = said.CheckObjectsRequest(hashes)
            answer = await self._willing("ObjectServer.CheckObjects", request, said.CheckObjectsResponse)
            if len(answer.object_sizes) != len(hashes):
                raise self._unwilling(f"asked for {len(hashes)} objects, it told of {len(answer.object_sizes)}")
            found += [digest for digest, size in zip(hashes, answer.object_sizes, strict=True) if not size]
        return found

    async def send(self, sizes: Mapping[bytes, int], texts: Mapping[bytes, bytes]) -> None:
        """Send objects of this store, of these sizes, and some that are held in memory."""
        left = dict(sizes)

        async def talk(call: Call) -> None:
            order = [*left, *texts]
            answers = Deferred.fromCoroutine(self._answers(call, order, left))
            try:
                await self._say(call, dict(left), texts)
                await answers
            except BaseException:
                answers.addErrback(lambda failure: None)
                answers.cancel()
                raise

        await self._spoken("ObjectServer.AddObjects", talk)

    async def _say(self, call: Call, sizes: Mapping[bytes, int], texts: Mapping[bytes, bytes]) -> None:
        for batch in _batches(sizes):
            if sizes[batch[0]] > BLOCK:
                await self._say_large(call, batch[0], sizes[batch[0]])
            else:
                await call.conversation.say(await self._parts.workers.run(self._together, call, batch))
        for digest, text in texts.items():
            await call.send(said.AddObjectRequest(len(text), digest))
            await call.conversation.say(text)
        await call.send(said.AddObjectRequest())

    def _together(self, call: Call, digests: Sequence[bytes]) -> bytes:
        """Small objects, each after what tells of it."""
        parts = bytearray()
        for digest in digests:
            content = self._read(digest)
            parts += call.encoded(said.AddObjectRequest(len(content), digest)) + content
        return bytes(parts)

    def _read(self, digest: bytes) -> bytes:
        descriptor = self._parts.objects.open(digest)
        try:
            return os.read(descriptor, BLOCK)
        finally:
            os.close(descriptor)

    async def _say_large(self, call: Call, digest: bytes, size: int) -> None:
        await call.send(said.AddObjectRequest(size, digest))
        descriptor = await self._parts.workers.run(self._parts.objects.open, digest)
        try:
            while block := await self._parts.workers.run(os.read, descriptor, BLOCK):
                await call.conversation.say(block)
        finally:
            os.close(descriptor)

    async def _answers(self, call: Call, order: Sequence[bytes], left: dict[bytes, int]) -> None:
        """Hear of each object that it has arrived, after which it is no more ``left``."""
        for digest in order:
            answer = await call.receive(said.AddObjectResponse)
            if answer.error_string or answer.hash != digest:
                raise self._unwilling(f"object {digest.hex()}: {answer.error_string or 'it arrived as another one'}")
            left.pop(digest, None)

    async def fetch(self, sizes: Mapping[bytes, int]) -> None:
        """Fetch objects of these sizes, those that are not here; raises `StoreCorrupt` for wrong content."""
        lacking = await self._parts.workers.run(self._parts.objects.missing, sizes)
        for batch in _batches({digest: sizes[digest] for digest in sorted(lacking)}, _FETCHED_AT_ONCE):
            await self._spoken("ObjectServer.GetObjects", partial(self._fetch, batch, sizes))

    async def _fetch(self, batch: Sequence[bytes], sizes: Mapping[bytes, int], call: Call) -> None:
        lacking = await self._parts.workers.run(self._parts.objects.missing, batch)
        wanted = [digest for digest in batch if digest in lacking]
        await call.send(said.GetObjectsRequest(hashes=wanted), large=True)
        answer = await call.receive(said.GetObjectsResponse)
        if answer.response_string:
            raise Refused(answer.response_string)
        if answer.object_sizes != [sizes[digest] for digest in wanted]:
            raise StoreCorrupt(f"image server {self._client.server}: objects of other sizes than the image says")
        directory = self._parts.directory / f"incoming-{secrets.token_hex(6)}"
        async with Incoming(self._parts.objects, self._parts.workers, directory) as incoming:
            pending: list[bytes] = []
            for digest in wanted:
                await incoming.take(sizes[digest], call.blocks(sizes[digest]))
                pending.append(digest)
                if incoming.is_full:
                    await self._verified(incoming, pending)
                    pending = []
            await self._verified(incoming, pending)

    async def _verified(self, incoming: Incoming, expected: Sequence[bytes]) -> None:
        for wanted, added in zip(expected, await incoming.publish(), strict=True):
            if wanted != added.digest:
                problem = f"object {wanted.hex()} came as {added.digest.hex()}"
                raise StoreCorrupt(f"image server {self._client.server}: {problem}")

    async def _willing(self, method: str, request: Message, response: type[M]) -> M:
        """An answer to what the server should not refuse."""
        try:
            return await self._ask(method, request, response)
        except Refused as refused:
            raise self._unwilling(refused) from None

    async def _ask(self, method: str, request: Message, response: type[M], *, large: bool = False) -> M:
        try:
            return await self._client.ask(method, request, response, large=large)
        except Broken as broken:
            raise self._unwilling(broken) from None

    async def _spoken(self, method: str, talk: Callable[[Call], Awaitable[None]]) -> None:
        try:
            await self._client.speak(method, talk)
        except (Broken, Refused) as error:
            raise self._unwilling(error) from None

    def _unwilling(self, reason: object) -> Unreachable:
        return Unreachable(f"image server {self._client.server}", str(reason))


def _batches(sizes: Mapping[bytes, int], most: int = BLOCK) -> Iterator[list[bytes]]:
    """Objects in order, so many bytes at a time; one that has more is by itself."""
    batch: list[bytes] = []
    weight = 0
    for digest, size in sizes.items():
        if batch and weight + size > most:
            yield batch
            batch, weight = [], 0
        batch.append(digest)
        weight += size
    if batch:
        yield batch
