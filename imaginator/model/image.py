"""An image: one immutable result of a build, with everything that is said about it."""

from __future__ import annotations

from datetime import datetime

import msgspec

from imaginator.model.fingerprint import Fingerprint
from imaginator.model.tree import Entry


class Package(msgspec.Struct, frozen=True, rename="pascal"):
    """An installed package; ``size`` in bytes, 0 where its packager does not tell."""

    name: str
    version: str
    size: int = 0


class Trigger(msgspec.Struct, frozen=True, rename="pascal"):
    """A service to act on when a path that matches one of ``match_lines`` changes on a machine."""

    match_lines: tuple[str, ...]
    service: str
    sort_name: str = ""
    do_reboot: bool = False
    do_reload: bool = False
    high_impact: bool = False


class Owners(msgspec.Struct, frozen=True, rename="pascal"):
    """Who may change or delete an image, beside the user it was created for."""

    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


class Figures(msgspec.Struct, frozen=True, rename="pascal"):
    """What packing counted: inodes other than directories, content bytes, and objects new to the store or known."""

    files: int = 0
    directories: int = 0
    bytes: int = 0
    objects_new: int = 0
    objects_known: int = 0


class Origin(msgspec.Struct, frozen=True, rename="pascal"):
    """Where an image came from; ``git_url`` is the public form (no secrets). Empty fields do not apply."""

    source_image: str = ""
    git_url: str = ""
    git_branch: str = ""
    git_commit_id: str = ""
    build_id: str = ""
    created_for: str = ""


class Annotation(msgspec.Struct, frozen=True, rename="pascal"):
    """A text beside an image that others have made: an object, or where it lies."""

    object: bytes = b""
    url: str = ""


class Annotations(msgspec.Struct, frozen=True, rename="pascal"):
    """All of an image; ``node`` is that of a tree with their objects and the image's, empty where there are none."""

    release_notes: Annotation | None = None
    build_log: Annotation | None = None
    node: bytes = b""


class Image(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """One image. ``filter`` is None for a sparse image, () for an empty filter; times are aware and UTC.

    ``expires_at`` None means never (pinned). ``links`` lists every hard-link group's paths, each group sorted, so that
    a build that touches one name finds the others without walking the tree; ``computed`` likewise lists the paths of
    computed files, and is None in images that were made before it was kept. ``packager_type`` is that of the bootstrap
    at the bottom, empty in images made before it was recorded. ``fingerprint`` says what the image was made from, None
    in images made before it was kept; ``confirmed_at`` when it was last found to be what a new build would make.
    ``annotations`` are those of images that others have made.
    """

    name: str
    root: Entry
    created_at: datetime
    expires_at: datetime | None = None
    filter: tuple[str, ...] | None = None
    triggers: tuple[Trigger, ...] | None = None
    tags: dict[str, str] = {}
    owners: Owners = Owners()
    packages: tuple[Package, ...] = ()
    links: tuple[tuple[bytes, ...], ...] = ()
    computed: tuple[bytes, ...] | None = None
    origin: Origin = Origin()
    figures: Figures = Figures()
    packager_type: str = ""
    fingerprint: Fingerprint | None = None
    confirmed_at: datetime | None = None
    annotations: Annotations = Annotations()

    @property
    def reach(self) -> bytes:
        """The id of the node from which all of it is reached, the objects beside its tree as well."""
        return self.annotations.node or self.root.node

    @property
    def current_at(self) -> datetime:
        """When it was up to date for the last time, as far as is known."""
        return self.confirmed_at or self.created_at


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Image)


def encode_image(image: Image) -> bytes:
    """The form that the catalogue keeps."""
    return _encoder.encode(image)


def decode_image(data: bytes) -> Image:
    """The image that `encode_image` encoded."""
    return _decoder.decode(data)
