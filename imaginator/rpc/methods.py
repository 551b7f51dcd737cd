"""Every operation for programs, in one table: its name, who may call it, what it takes and returns, and what it does.

A method is refused to everybody but callers with full access unless its row says otherwise.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC
from enum import Enum
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from imaginator.model.build import BuildRecord, BuildRequest, State
from imaginator.model.errors import InvalidRequest, NotFound
from imaginator.model.identity import Caller
from imaginator.model.names import check_build_id, check_image_name, check_stream_name
from imaginator.model.pauses import Disabled
from imaginator.model.shell import ShellInput
from imaginator.rpc.discovery import openrpc
from imaginator.rpc.faults import fault_of_build
from imaginator.rpc.graphs import (
    DirectedGraph,
    StreamDependencies,
    WantedStreams,
    get_dependencies,
    get_directed_graph,
)
from imaginator.rpc.structures import (
    BuildId,
    Builds,
    BuiltImage,
    DisabledUntil,
    DisableFor,
    ImageDetails,
    ImageName,
    Images,
    MethodName,
    NewExpiration,
    Nothing,
    StartAutoBuilds,
    WantedBuilds,
    WantedImage,
    WantedImages,
    details_of,
)
from imaginator.store.history import BuildQuery
from imaginator.store.interface import Wanted

if TYPE_CHECKING:
    from imaginator.schedule.builder import Builder


class Access(Enum):
    """Who may call a method. Those between the first and the last are let in here, and checked by what is called."""

    FULL = "callers with full access"
    BUILDERS = "the stream's builders, and callers with full access"
    REQUESTER = "who asked for the build, and callers with full access"
    OWNERS = "the user whom the image was built for, its owners, and callers with full access"
    OPENER = "who opened the shell"
    ANYONE = "any identity"


class Method(NamedTuple):
    """A row of the table.

    ``request`` is the structure of the parameters, ``result`` that of the answer. ``grant`` names the method whose
    permission gives full access to this one, where that is another.
    """

    name: str
    request: type[msgspec.Struct]
    result: object
    call: Callable[[Builder, Caller, Any], Awaitable[object]]
    help: str
    access: Access = Access.FULL
    grant: str = ""


async def _build_image(builder: Builder, caller: Caller, request: BuildRequest) -> BuiltImage:
    submitted = await _submit_build(builder, caller, request)
    record = await builder.wait(submitted.build_id)
    if record.state is not State.SUCCEEDED:
        raise fault_of_build(record)
    return BuiltImage(record.image_name, record.build_id)


async def _submit_build(builder: Builder, caller: Caller, request: BuildRequest) -> BuildRecord:
    check_stream_name(request.stream_name)
    return await builder.submit(request, caller)


async def _get_build(builder: Builder, _caller: Caller, request: BuildId) -> BuildRecord:
    return await builder.get(check_build_id(request.build_id))


async def _list_builds(builder: Builder, _caller: Caller, request: WantedBuilds) -> Builds:
    query = BuildQuery(
        stream_name=request.stream_name,
        states=(request.state,) if request.state else (),
        requester=request.requester,
        since=request.since,
        limit=request.limit,
        after=request.after,
    )
    return Builds(tuple(await builder.builds(query)))


async def _cancel_build(builder: Builder, caller: Caller, request: BuildId) -> BuildRecord:
    return await builder.cancel(check_build_id(request.build_id), caller)


async def _disable_auto_builds(builder: Builder, caller: Caller, request: DisableFor) -> DisabledUntil:
    return DisabledUntil(await builder.disable(Disabled.AUTO_BUILDS, request.disable_for, caller))


async def _disable_build_requests(builder: Builder, caller: Caller, request: DisableFor) -> DisabledUntil:
    return DisabledUntil(await builder.disable(Disabled.BUILD_REQUESTS, request.disable_for, caller))


async def _start_auto_builds(builder: Builder, _caller: Caller, request: StartAutoBuilds) -> Nothing:
    await builder.automation.start(request.wait_to_start, request.wait_for_complete)
    return Nothing()


async def _write_to_shell(builder: Builder, caller: Caller, request: ShellInput) -> Nothing:
    await builder.shells.give(request, caller)
    return Nothing()


async def _list_images(builder: Builder, _caller: Caller, request: WantedImages) -> Images:
    return Images(tuple(await builder.store.list(request.prefix)))


async def _find_latest_image(builder: Builder, _caller: Caller, request: WantedImage) -> ImageName:
    stream = check_stream_name(request.stream_name)
    image = await builder.store.find_latest(Wanted(stream, request.build_commit_id, request.tags_to_match))
    if image is None:
        raise NotFound(f"no image of stream: {stream}")
    return ImageName(image.name)


async def _get_image(builder: Builder, _caller: Caller, request: ImageName) -> msgspec.Struct:
    image = await builder.store.get(check_image_name(request.image_name))
    return details_of(image, await builder.store.computed(image))


async def _change_expiration(builder: Builder, caller: Caller, request: NewExpiration) -> NewExpiration:
    if request.pinned == (request.expires_at is not None):
        raise InvalidRequest("expected either ExpiresAt, a time, or Pinned, which is true")
    await builder.change_expiry(check_image_name(request.image_name), request.expires_at, caller)
    in_utc = request.expires_at and request.expires_at.astimezone(UTC)
    return msgspec.structs.replace(request, expires_at=in_utc)


async def _delete_image(builder: Builder, caller: Caller, request: ImageName) -> ImageName:
    await builder.delete_image(check_image_name(request.image_name), caller)
    return request


async def _list_methods(_builder: Builder, _caller: Caller, _request: Nothing) -> list[str]:
    return sorted(METHODS)


async def _method_help(_builder: Builder, _caller: Caller, request: MethodName) -> str:
    if request.method_name not in METHODS:
        raise NotFound(f"no such method: {request.method_name}")
    return METHODS[request.method_name].help


async def _discover(_builder: Builder, _caller: Caller, _request: Nothing) -> dict[str, object]:
    return description()


@cache
def description() -> dict[str, object]:
    """The whole table, as an OpenRPC document."""
    return openrpc(_TABLE)


BUILDING = "Imaginator.BuildImage"

_TABLE = (
    Method(
        BUILDING, BuildRequest, BuiltImage, _build_image,
        "Build an image of a stream and return its name once it is there. The build goes on when the caller leaves.",
        Access.BUILDERS,
    ),
    Method(
        "Imaginator.SubmitBuild", BuildRequest, BuildRecord, _submit_build,
        "Queue a build, or join the queued one that is the same, and return it without waiting.",
        Access.BUILDERS, BUILDING,
    ),
    Method(
        "Imaginator.GetBuild", BuildId, BuildRecord, _get_build,
        "Return one build: its request, state, stage, times, and its image or its failure.",
        Access.ANYONE,
    ),
    Method(
        "Imaginator.ListBuilds", WantedBuilds, Builds, _list_builds,
        "List builds, latest first.",
        Access.ANYONE,
    ),
    Method(
        "Imaginator.CancelBuild", BuildId, BuildRecord, _cancel_build,
        "Cancel a build.",
        Access.REQUESTER,
    ),
    Method(
        "Imaginator.StartAutoBuilds", StartAutoBuilds, Nothing, _start_auto_builds,
        "Begin to bring all images up to date that are rebuilt automatically, now rather than after the interval.",
    ),
    Method(
        "Imaginator.DisableAutoBuilds", DisableFor, DisabledUntil, _disable_auto_builds,
        "Disable automatic builds, for at most four of their intervals; images live on meanwhile.",
    ),
    Method(
        "Imaginator.DisableBuildRequests", DisableFor, DisabledUntil, _disable_build_requests,
        "Refuse new requests for builds, for at most a day; queued builds go on.",
    ),
    Method(
        "Imaginator.GetDependencies", WantedStreams, StreamDependencies, get_dependencies,
        "Say on which stream each stream builds, and which sources cannot be built.",
        Access.ANYONE,
    ),
    Method(
        "Imaginator.GetDirectedGraph", WantedStreams, DirectedGraph, get_directed_graph,
        "Draw on which stream each stream builds, as a text for Graphviz.",
        Access.ANYONE,
    ),
    Method(
        "Imaginator.WriteToShell", ShellInput, Nothing, _write_to_shell,
        "Give a shell that the caller has opened something to read; answered when it has taken that.",
        Access.OPENER,
    ),
    Method(
        "ImageServer.ListImages", WantedImages, Images, _list_images,
        "List images by name.",
        Access.ANYONE,
    ),
    Method(
        "ImageServer.FindLatestImage", WantedImage, ImageName, _find_latest_image,
        "Return the name of a stream's latest image.",
        Access.ANYONE,
    ),
    Method(
        "ImageServer.GetImage", ImageName, ImageDetails, _get_image,
        "Return what is known of an image: packages, origin, tags, filter, triggers, owners, computed files, figures,"
        " times.",
        Access.ANYONE,
    ),
    Method(
        "ImageServer.ChangeImageExpiration", NewExpiration, NewExpiration, _change_expiration,
        "Let an image expire at another time, within the limits for the caller, or never, which needs full access.",
        Access.OWNERS,
    ),
    Method(
        "ImageServer.DeleteImage", ImageName, ImageName, _delete_image,
        "Delete an image. Builds that stand on it go on.",
        Access.OWNERS,
    ),
    Method(
        "system.listMethods", Nothing, list[str], _list_methods,
        "List the names of all methods.",
        Access.ANYONE,
    ),
    Method(
        "system.methodHelp", MethodName, str, _method_help,
        "Say in a sentence what a method does.",
        Access.ANYONE,
    ),
    Method(
        "rpc.discover", Nothing, dict[str, object], _discover,
        "Describe all methods, with the schemas of what they take and return, as an OpenRPC document.",
        Access.ANYONE,
    ),
)  # fmt: skip

METHODS = {method.name: method for method in _TABLE}
