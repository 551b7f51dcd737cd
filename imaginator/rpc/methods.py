"""Every operation for programs, in one table: its name, who may call it, what it takes and returns, and what it does.

A method is refused to everybody but callers with full access unless its row says otherwise.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import msgspec

from imaginator.model.build import BuildRecord, BuildRequest, State
from imaginator.model.codec import to_plain
from imaginator.model.errors import InvalidRequest, NotFound
from imaginator.model.identity import Caller
from imaginator.model.image import Image
from imaginator.model.names import check_build_id, check_image_name, check_stream_name
from imaginator.model.pauses import Disabled
from imaginator.model.shell import ShellInput
from imaginator.rpc.faults import fault_of_build
from imaginator.rpc.graphs import (
    DirectedGraph,
    StreamDependencies,
    WantedStreams,
    get_dependencies,
    get_directed_graph,
)
from imaginator.store.history import BuildQuery
from imaginator.store.interface import ImageSummary, Wanted

if TYPE_CHECKING:
    from imaginator.schedule.builder import Builder

MOST_BUILDS = 1000
"""How many builds one call lists at most."""

_STORE_INTERNALS = ("Root", "Links")


class Access(Enum):
    """Who may call a method."""

    FULL = "full access"
    ANYONE = "any identity"


class Nothing(msgspec.Struct, frozen=True, rename="pascal"):
    """No parameters."""


class BuildId(msgspec.Struct, frozen=True, rename="pascal"):
    """Names a build."""

    build_id: str


class StartAutoBuilds(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """What to wait for: the end of a cycle that is under way, which else is an error; and the end of the new one."""

    wait_to_start: bool = False
    wait_for_complete: bool = False


class BuiltImage(msgspec.Struct, frozen=True, rename="pascal"):
    """What a build brought."""

    image_name: str
    build_id: str


class DisableFor(msgspec.Struct, frozen=True, rename="pascal"):
    """For how many seconds from now on something is to be disabled; 0 enables it."""

    disable_for: Annotated[float, msgspec.Meta(ge=0)]


class DisabledUntil(msgspec.Struct, frozen=True, rename="pascal"):
    """Until when something is disabled; null where it is enabled."""

    disabled_until: datetime | None


class WantedBuilds(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """Which builds to list, latest first: of a stream or of those below a prefix, in a state, of a user, since a time.

    ``after`` is the last build id of the page before.
    """

    stream_name: str = ""
    state: State | None = None
    requester: str = ""
    since: datetime | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=MOST_BUILDS)] = 100
    after: str = ""


class Builds(msgspec.Struct, frozen=True, rename="pascal"):
    """A list of builds."""

    builds: tuple[BuildRecord, ...]


class WantedImages(msgspec.Struct, frozen=True, rename="pascal"):
    """Which images to list: those below a prefix (a stream, or leading parts of one)."""

    prefix: str = ""


class Images(msgspec.Struct, frozen=True, rename="pascal"):
    """A list of images."""

    images: tuple[ImageSummary, ...]


class WantedImage(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """The latest image of a stream; of a commit or branch and with tags (key → allowed values) where given."""

    stream_name: str
    build_commit_id: str = ""
    tags_to_match: dict[str, tuple[str, ...]] = {}


class ImageName(msgspec.Struct, frozen=True, rename="pascal"):
    """Names an image."""

    image_name: str


class NewExpiration(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """When an image is to expire: at a time, or never (pinned); one of the two has to be given."""

    image_name: str
    expires_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    pinned: bool = False


class MethodName(msgspec.Struct, frozen=True, rename="pascal"):
    """Names a method."""

    method_name: str


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


async def _get_image(builder: Builder, _caller: Caller, request: ImageName) -> dict[str, object]:
    image = await builder.store.get(check_image_name(request.image_name))
    plain: dict[str, object] = to_plain(image)
    return {name: value for name, value in plain.items() if name not in _STORE_INTERNALS}


async def _change_expiration(builder: Builder, caller: Caller, request: NewExpiration) -> NewExpiration:
    if request.pinned == (request.expires_at is not None):
        raise InvalidRequest("expected either ExpiresAt, a time, or Pinned, which is true")
    await builder.change_expiry(check_image_name(request.image_name), request.expires_at, caller)
    return request


async def _delete_image(builder: Builder, caller: Caller, request: ImageName) -> ImageName:
    await builder.delete_image(check_image_name(request.image_name), caller)
    return request


async def _list_methods(_builder: Builder, _caller: Caller, _request: Nothing) -> list[str]:
    return sorted(METHODS)


async def _method_help(_builder: Builder, _caller: Caller, request: MethodName) -> str:
    if request.method_name not in METHODS:
        raise NotFound(f"no such method: {request.method_name}")
    return METHODS[request.method_name].help


BUILDING = "Imaginator.BuildImage"

_TABLE = (
    Method(
        BUILDING, BuildRequest, BuiltImage, _build_image,
        "Build an image of a stream and return its name once it is there. The build goes on when the caller leaves.",
        Access.ANYONE,
    ),
    Method(
        "Imaginator.SubmitBuild", BuildRequest, BuildRecord, _submit_build,
        "Queue a build, or join the queued one that is the same, and return it without waiting.",
        Access.ANYONE, BUILDING,
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
        "Cancel a build; for its requester and callers with full access.",
        Access.ANYONE,
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
        Access.ANYONE,
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
        "ImageServer.GetImage", ImageName, Image, _get_image,
        "Return what is known of an image: packages, origin, tags, filter, triggers, owners, figures and times.",
        Access.ANYONE,
    ),
    Method(
        "ImageServer.ChangeImageExpiration", NewExpiration, NewExpiration, _change_expiration,
        "Let an image expire at another time, within the limits for the caller, or never, which needs full access;"
        " for the user it was built for, its owners, and callers with full access.",
        Access.ANYONE,
    ),
    Method(
        "ImageServer.DeleteImage", ImageName, ImageName, _delete_image,
        "Delete an image; for the user it was built for, its owners, and callers with full access."
        " Builds that stand on it go on.",
        Access.ANYONE,
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
)  # fmt: skip

METHODS = {method.name: method for method in _TABLE}
