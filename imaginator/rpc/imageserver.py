"""The embedded store as Dominator's image server: its methods for images, as `imaginator.srpc` serves them.

A directory is there as soon as an image lies below it, so that making one does nothing.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from imaginator.model.errors import InvalidRequest, NotFound, StoreCorrupt
from imaginator.model.image import Image
from imaginator.model.names import check_foreign_name, check_stream_name
from imaginator.model.tags import matches
from imaginator.rpc.callers import Admitted
from imaginator.srpc import messages as said
from imaginator.srpc.call import WIDE, Call
from imaginator.srpc.errors import Refused
from imaginator.srpc.images import image_to_wire, moment, time_of, whole_to_wire
from imaginator.srpc.server import Answering, Methods, Speaking
from imaginator.store.arriving import arrived, check_sizes, with_texts
from imaginator.store.images import EmbeddedStore
from imaginator.store.interface import Wanted
from imaginator.store.objects import Objects
from imaginator.store.workers import Workers

if TYPE_CHECKING:
    from imaginator.schedule.builder import Builder

SECOND = 10**9
"""Nanoseconds, in which durations are said."""

LOOK = 1.0
"""Seconds between looks for what has become of images, for those who wait for that."""

LONGEST_WAIT = 3600.0
"""Seconds for which an image may be waited for."""

_ADDED, _DELETED, _MADE = range(3)


class ImageParts(NamedTuple):
    """What the methods stand on."""

    clock: IReactorTime
    store: EmbeddedStore
    objects: Objects
    builder: Builder
    workers: Workers


class ImageServer:
    """The methods of the service ``ImageServer``."""

    def __init__(self, parts: ImageParts) -> None:
        self._parts = parts
        self._store = parts.store

    def methods(self) -> Methods:
        """The table."""
        return {
            "ImageServer.AddImage": Answering(said.AddImageRequest, self._add, limits=WIDE),
            "ImageServer.ChangeImageExpiration": Answering(said.ChangeImageExpirationRequest, self._change_expiry),
            "ImageServer.CheckDirectory": Answering(said.CheckDirectoryRequest, self._check_directory),
            "ImageServer.CheckImage": Answering(said.CheckImageRequest, self._check),
            "ImageServer.DeleteImage": Answering(said.DeleteImageRequest, self._delete),
            "ImageServer.FindLatestImage": Answering(said.FindLatestImageRequest, self._find_latest),
            "ImageServer.GetFilteredImageUpdates": Speaking(self._tell_some),
            "ImageServer.GetImage": Answering(said.GetImageRequest, self._get, large=True),
            "ImageServer.GetImageExpiration": Answering(said.GetImageExpirationRequest, self._get_expiry),
            "ImageServer.GetImageUpdates": Speaking(self._tell_all),
            "ImageServer.ListDirectories": Speaking(self._list_directories),
            "ImageServer.ListImages": Speaking(self._list_all),
            "ImageServer.ListSelectedImages": Speaking(self._list_selected),
            "ImageServer.MakeDirectory": Answering(said.MakeDirectoryRequest, self._make_directory),
        }

    async def _add(self, _caller: Admitted, request: said.AddImageRequest) -> said.AddImageResponse:
        name = check_foreign_name(request.image_name)
        if request.image is None:
            raise InvalidRequest(f"{name}: no image was sent")
        found = await self._parts.workers.run(arrived, name, request.image)
        with self._store.holds.opened() as held:
            held.keep_content(found.objects.keys() | found.beside)
            if missing := await self._store.missing(found.beside):
                raise Refused(f"{name}: {len(missing)} texts beside it are missing, the first is {min(missing).hex()}")
            check_sizes(found, await self._parts.workers.run(self._parts.objects.differing, found.objects))
            found = with_texts(found, await self._parts.workers.run(self._sizes, found.beside))
            try:
                await self._store.bring(found.image, found.nodes, ())
            except StoreCorrupt as incomplete:
                raise Refused(f"{name}: {incomplete}") from None
            except sqlite3.IntegrityError:
                raise Refused(f"image: {name} already exists") from None
        return said.AddImageResponse()

    def _sizes(self, digests: Iterable[bytes]) -> dict[bytes, int]:
        return {digest: self._parts.objects.path(digest).stat().st_size for digest in digests}

    async def _check(self, _caller: Admitted, request: said.CheckImageRequest) -> said.CheckImageResponse:
        return said.CheckImageResponse(image_exists=await self._found(request.image_name) is not None)

    async def _found(self, name: str) -> Image | None:
        with contextlib.suppress(NotFound):
            return await self._store.get(name)
        return None

    async def _get(self, _caller: Admitted, request: said.GetImageRequest) -> said.GetImageResponse:
        image = await self._awaited(request.image_name, min(request.timeout / SECOND, LONGEST_WAIT))
        if image is None:
            return said.GetImageResponse()
        expires = request.ignore_filesystem_if_expiring and image.expires_at is not None
        if request.ignore_filesystem or expires:
            return said.GetImageResponse(image=image_to_wire(image, None))
        whole = await self._parts.workers.run(whole_to_wire, image, self._store.nodes())
        return said.GetImageResponse(image=whole)

    async def _awaited(self, name: str, seconds: float) -> Image | None:
        """An image, as soon as it is there."""
        until = self._parts.clock.seconds() + seconds
        while (image := await self._found(name)) is None and self._parts.clock.seconds() < until:
            await deferLater(self._parts.clock, LOOK)
        return image

    async def _find_latest(
        self, _caller: Admitted, request: said.FindLatestImageRequest
    ) -> said.FindLatestImageResponse:
        tags = {key: tuple(values) for key, values in request.tags_to_match.items()}
        stream = check_stream_name(request.directory_name)
        image = await self._store.find_latest(
            Wanted(stream, request.build_commit_id, tags, request.ignore_expiring_images)
        )
        return said.FindLatestImageResponse(image_name=image.name if image else "")

    async def _get_expiry(
        self, _caller: Admitted, request: said.GetImageExpirationRequest
    ) -> said.GetImageExpirationResponse:
        image = await self._found(request.image_name)
        if image is None:
            return said.GetImageExpirationResponse(error="image not found")
        return said.GetImageExpirationResponse(expires_at=moment(image.expires_at) if image.expires_at else None)

    async def _change_expiry(
        self, admitted: Admitted, request: said.ChangeImageExpirationRequest
    ) -> said.ChangeImageExpirationResponse:
        until = None if request.expires_at is None else time_of(request.expires_at)
        await self._parts.builder.change_expiry(check_foreign_name(request.image_name), until, admitted.caller)
        return said.ChangeImageExpirationResponse()

    async def _delete(self, admitted: Admitted, request: said.DeleteImageRequest) -> said.DeleteImageResponse:
        await self._parts.builder.delete_image(check_foreign_name(request.image_name), admitted.caller)
        return said.DeleteImageResponse()

    async def _check_directory(
        self, _caller: Admitted, request: said.CheckDirectoryRequest
    ) -> said.CheckDirectoryResponse:
        known = await self._directories()
        return said.CheckDirectoryResponse(directory_exists=request.directory_name.rstrip("/") in known)

    async def _make_directory(
        self, _caller: Admitted, request: said.MakeDirectoryRequest
    ) -> said.MakeDirectoryResponse:
        check_stream_name(request.directory_name)
        return said.MakeDirectoryResponse()

    async def _directories(self) -> list[str]:
        """All directories, those above others first."""
        parts = [stream.split("/") for stream in await self._store.streams()]
        return sorted({"/".join(names[:count]) for names in parts for count in range(1, len(names) + 1)})

    async def _list_directories(self, call: Call) -> None:
        for name in await self._directories():
            await call.send(said.Directory(name))
        await call.send(said.Directory())

    async def _list_all(self, call: Call) -> None:
        await _tell_names(call, [summary.name for summary in await self._store.list()])

    async def _list_selected(self, call: Call) -> None:
        request = await call.receive(said.ListSelectedImagesRequest)
        found = [
            summary.name
            for summary in await self._store.list(request.directory_name)
            if not (request.ignore_expiring_images and summary.expires_at is not None)
        ]
        if request.tags_to_match:
            images = [await self._store.get(name) for name in found]
            found = [image.name for image in images if matches(image.tags, request.tags_to_match)]
        await _tell_names(call, found)

    async def _tell_all(self, call: Call) -> None:
        await self._tell(call, lasting=False)

    async def _tell_some(self, call: Call) -> None:
        request = await call.receive(said.GetFilteredImageUpdatesRequest)
        await self._tell(call, lasting=request.ignore_expiring_images)

    async def _tell(self, call: Call, lasting: bool) -> None:
        """Tell what there is, then what becomes of it, as long as the peer listens."""
        directories: set[str] = set()
        images: set[str] = set()
        version = -1
        while True:
            if version != self._store.version:
                began, version = version < 0, self._store.version
                summaries = await self._store.list()
                now = {one.name for one in summaries if not (lasting and one.expires_at is not None)}
                made = set(await self._directories())
                updates = [*_updates(_MADE, made - directories), *_updates(_ADDED, now - images)]
                updates += _updates(_DELETED, images - now)
                for update in [*updates, said.ImageUpdate()] if began else updates:
                    await call.send(update)
                directories, images = directories | made, now
            await deferLater(self._parts.clock, LOOK)


def _updates(operation: int, names: Iterable[str]) -> list[said.ImageUpdate]:
    if operation == _MADE:
        return [said.ImageUpdate(said.Directory(name), operation=_MADE) for name in sorted(names)]
    return [said.ImageUpdate(name=name, operation=operation) for name in sorted(names)]


async def _tell_names(call: Call, names: Iterable[str]) -> None:
    """Lines, up to an empty one."""
    await call.conversation.say("".join(f"{name}\n" for name in names).encode() + b"\n")
