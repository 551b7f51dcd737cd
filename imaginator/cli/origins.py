"""Finds the image that a local manifest builds on: in the local store, at a daemon, or by building it."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Awaitable, Callable
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from tarfile import TarError
from typing import Any, ParamSpec, TypeVar

import click
import msgspec
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater

from imaginator.build.bringing import bring
from imaginator.build.job import SourceWish
from imaginator.build.monitor import Monitor
from imaginator.cli.fetching import unpack
from imaginator.cli.wishes import Origins
from imaginator.model.build import BuildRequest, State
from imaginator.model.durations import format_duration
from imaginator.model.errors import BuildFailed, NotFound, SourceImageNeeded
from imaginator.model.identity import Caller
from imaginator.model.image import Image
from imaginator.model.manifest import ComputedFile
from imaginator.model.tree import Entry, Inode, Kind
from imaginator.rpc.client import Client, ClientError, RpcError
from imaginator.service.works import Works
from imaginator.store.interface import Wanted

OPERATOR = Caller("root", full_access=True)
"""Whoever is root here, and so may build what the configuration has."""

KEPT = 30 * 86400.0
"""Seconds that a source image lives that was built here."""

P = ParamSpec("P")
T = TypeVar("T")

_BLOCK = 1 << 18
_MOMENT = 0.05
_NO_TREE = Entry(b"", Inode(Kind.DIRECTORY, 0o755))


class SourceImages:
    """Answers the wish of one build; an instance is a `imaginator.build.job.SourceResolver`."""

    def __init__(self, works: Works, origins: Origins, monitor: Monitor) -> None:
        self._works = works
        self._origins = origins
        self._monitor = monitor

    async def __call__(self, wish: SourceWish) -> Image:
        """The image that is wished for; raises `SourceImageNeeded` with what was tried."""
        tried: list[str] = []
        ways: tuple[Callable[[SourceWish], Awaitable[Image | str]], ...] = (self._local, self._fetched, self._built)
        for way in ways:
            found = await way(wish)
            if isinstance(found, Image):
                return found
            tried.append(found)
        raise SourceImageNeeded(f"no source image: {wish.stream}: {'; '.join(tried)}", wish.stream)

    async def _local(self, wish: SourceWish) -> Image | str:
        image = await self._works.store.find_latest(_wanted(wish))
        if image is None:
            return f"the local store {self._works.state} has none"
        age = (self._works.now() - image.current_at).total_seconds()
        if self._origins.max_source_age and age > self._origins.max_source_age:
            return f"that in the local store {self._works.state} is too old ({format_duration(age)})"
        return image

    async def _fetched(self, wish: SourceWish) -> Image | str:
        """The daemon's latest, which is fetched once."""
        if self._origins.daemon is None:
            return "no daemon is named (builder-tool --imaginator-hostname HOST)"
        client = self._origins.daemon()
        try:
            details = await self._threaded(client.abort, _latest, client, wish)
            if details is None:
                return "the daemon has none"
            try:
                return await self._works.store.get(details["Name"])
            except NotFound:
                return await self._bring(client, details)
        except click.ClickException as error:
            raise BuildFailed(f"source image {wish.stream}: {error.message}") from None
        except (ClientError, HTTPException, OSError, TarError) as error:
            raise BuildFailed(f"source image {wish.stream}: {error}") from None
        finally:
            client.close()

    async def _bring(self, client: Client, details: dict[str, Any]) -> Image:
        name = details["Name"]
        self._monitor.note(f"source image {name}: fetched from the daemon")
        files = msgspec.convert(details.pop("ComputedFiles"), tuple[ComputedFile, ...])
        computed = {os.fsencode(file.filename): os.fsencode(file.source) for file in files}
        del details["Computed"]  # packing finds them
        image = msgspec.json.decode(msgspec.json.encode({**details, "Root": _NO_TREE}), type=Image)
        archive = await self._threaded(client.abort, client.stream, f"/getImage?{name}")

        async def fill(directory: Path) -> None:
            await self._threaded(lambda: _hang_up(archive), unpack, archive, directory)

        try:
            return await bring(self._works.parts, self._works.store, image, computed, fill, self._monitor)
        finally:
            archive.close()

    async def _threaded(
        self, abort: Callable[[], None], function: Callable[P, T], *args: P.args, **more: P.kwargs
    ) -> T:
        """Call ``function`` in a thread; where this is cancelled, ``abort`` ends that call before it returns."""
        waiting: Deferred[T] = Deferred()
        working = self._works.workers.run(function, *args, **more)
        working.addBoth(lambda result: None if waiting.called else waiting.callback(result))
        try:
            return await waiting
        except CancelledError:
            abort()
            await working
            raise

    async def _built(self, wish: SourceWish) -> Image | str:
        url = self._origins.configuration
        if not url:
            return "there is no configuration to build it by (--configuration-url URL)"
        if await self._works.configuration.find(wish.stream) is None:
            return f"the configuration {self._works.configuration.redact(url)} has no such stream"
        self._monitor.note(f"source image {wish.stream}: building it first")
        request = BuildRequest(
            stream_name=wish.stream,
            git_branch=wish.commit,
            expires_in=KEPT,
            max_source_age=self._origins.max_source_age,
            variables=wish.variables,
        )
        builder = self._works.builder
        build_id = (await builder.submit(request, OPERATOR)).build_id
        try:
            await self._follow(build_id)
            ended = await builder.wait(build_id)
        except CancelledError:
            await builder.cancel(build_id, OPERATOR)
            raise
        if ended.state is not State.SUCCEEDED:
            raise BuildFailed(f"source image {wish.stream}: {ended.failure.message if ended.failure else ended.state}")
        return await self._works.store.get(ended.image_name)

    async def _follow(self, build_id: str) -> None:
        """Let this build's log have that of its source's build, as it grows."""
        builder, offset = self._works.builder, 0
        while True:
            try:
                log = await builder.log(build_id)
                break
            except NotFound:  # it has not begun
                await deferLater(self._works.reactor, _MOMENT)
        while not (log.finished and offset == log.size):
            await log.grown(offset)
            data = await log.read(offset, _BLOCK)
            offset += len(data)
            self._monitor.log(data)


def _wanted(wish: SourceWish) -> Wanted:
    return Wanted(wish.stream, wish.commit, wish.tags)


def _latest(client: Client, wish: SourceWish) -> dict[str, Any] | None:
    """What the daemon says of its latest image; None where it has none."""
    try:
        wanted = {"BuildCommitId": wish.commit, "TagsToMatch": wish.tags}
        name = client.call("ImageServer.FindLatestImage", StreamName=wish.stream, **wanted)["ImageName"]
        details: dict[str, Any] = client.call("ImageServer.GetImage", ImageName=name)
    except RpcError as error:
        if error.code == NotFound.code:
            return None
        raise
    return details


def _hang_up(archive: HTTPResponse) -> None:
    """End the connection under a thread that reads from it."""
    with contextlib.suppress(OSError, ValueError), socket.socket(fileno=os.dup(archive.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)
