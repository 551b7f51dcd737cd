"""What methods take and return; builds, images' summaries and the graph's structures are where they belong."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

import msgspec

from imaginator.model.build import BuildRecord, State
from imaginator.model.image import Image
from imaginator.model.manifest import ComputedFile
from imaginator.store.interface import ImageSummary

MOST_BUILDS = 1000
"""How many builds one call lists at most."""

_STORE_INTERNALS = ("root", "links", "annotations")


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


ImageDetails = msgspec.defstruct(
    "ImageDetails",
    [
        *((field.name, field.type) for field in msgspec.structs.fields(Image) if field.name not in _STORE_INTERNALS),
        ("computed_files", tuple[ComputedFile, ...]),
    ],
    namespace={"__doc__": "All that is said about an image, but what only a store can make something of."},
    frozen=True,
    kw_only=True,
    rename="pascal",
)


def details_of(image: Image, computed: Mapping[bytes, bytes]) -> msgspec.Struct:
    """What the world is told of an image whose ``computed`` files, by path, have these source addresses."""
    names = (field.name for field in msgspec.structs.fields(Image) if field.name not in _STORE_INTERNALS)
    files = tuple(ComputedFile(os.fsdecode(path), os.fsdecode(source)) for path, source in computed.items())
    return ImageDetails(**{name: getattr(image, name) for name in names}, computed_files=files)
