"""What the rest of the program knows of an image store: the embedded one, or one that a server stands behind.

An image is added in one step, and only when all its objects are whole in the store. Everything here is asynchronous
but the `NodeReader`, which blocks briefly and is for worker threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Protocol

import msgspec

from imaginator.model.image import Figures, Image
from imaginator.model.tree import NodeReader


class ImageSummary(msgspec.Struct, frozen=True, rename="pascal"):
    """A line of the image list."""

    name: str
    created_at: datetime
    expires_at: datetime | None
    figures: Figures


class Wanted(msgspec.Struct, frozen=True):
    """Which image of a stream: the latest whose commit id or branch is ``commit`` and whose tags match.

    ``tags`` maps a key to its allowed values: values of one key are alternatives, keys must all match. An empty
    ``commit`` and no tags take the latest; ``lasting`` leaves out those that expire.
    """

    stream: str
    commit: str = ""
    tags: dict[str, tuple[str, ...]] = {}
    lasting: bool = False


Note = Callable[[str], None]


def silent(_line: str) -> None:
    """Takes a line that nobody wants."""


class Hold(Protocol):
    """Keeps what is read, or is about to be added, from being collected (`imaginator.store.holds`)."""

    async def image(self, image: Image) -> None:
        """Keep an image whole, even when it expires or is deleted; raises `NotFound` where that came first."""

    def content(self, ids: Iterable[bytes]) -> None:
        """Keep objects, those that are there from now on."""


class ImageStore(Protocol):
    """Images, their trees and their objects."""

    async def find_latest(self, wanted: Wanted) -> Image | None:
        """The latest matching image in catalogue order, expired ones left out; None where there is none."""

    async def get(self, name: str) -> Image:
        """The image called ``name``; raises `NotFound`."""

    async def list(self, prefix: str = "") -> Sequence[ImageSummary]:
        """The images whose name is below ``prefix`` (a stream, or parts of one), by name."""

    @property
    def version(self) -> int:
        """Another one whenever an image was added, changed or removed."""

    async def streams(self) -> frozenset[str]:
        """The streams that have an image, expired ones left out."""

    async def missing(self, digests: Iterable[bytes]) -> frozenset[bytes]:
        """Those of these objects that the store does not hold."""

    async def add(
        self, draft: Image, nodes: Mapping[bytes, bytes], layers: Sequence[str], note: Note = silent
    ) -> Image:
        """Add an image whose objects are in the store, and return it with its final name.

        ``draft.name`` is the stream; the date stamp is given here, so that no two images share one. ``nodes`` are the
        encoded nodes that the build made, by id; nodes of the source image need not be repeated. ``layers`` are the
        ids of the image's layers, bottom first; ``note`` takes lines for the build's log.

        Raises `StoreCorrupt` when an object or a node is not there. Until this returns the caller holds the source
        image, the objects of new nodes, and the layers.
        """

    def hold(self) -> AbstractContextManager[Hold]:
        """A new hold, which ends when the context is left."""

    async def set_expiry(self, name: str, expires_at: datetime | None) -> None:
        """Change when an image expires; None pins it. Raises `NotFound`."""

    async def extend(self, names: Sequence[str], until: datetime, confirmed_at: datetime | None = None) -> None:
        """Let images live until then, unless they live longer anyway; ``confirmed_at`` is when they were up to date.

        One that is not there any more is passed over.
        """

    async def delete(self, name: str) -> None:
        """Remove an image from the catalogue; what only it needed goes with the next collection. Raises `NotFound`."""

    async def computed(self, image: Image) -> dict[bytes, bytes]:
        """The source address of each computed file of an image, by path."""

    def nodes(self) -> NodeReader:
        """A reader of nodes for worker threads (each thread may share it)."""

    def open_object(self, digest: bytes) -> int:
        """A descriptor to read an object with, which the caller closes; for worker threads. Raises ``OSError``."""

    @property
    def objects(self) -> Path:
        """The directory, on the builds' file system, that new objects are collected into before `add`."""
