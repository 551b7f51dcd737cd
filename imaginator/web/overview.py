"""The streams at a glance: what is configured joined with what the store holds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from imaginator.model.names import stream_of
from imaginator.store.interface import ImageSummary


class StreamLine(NamedTuple):
    """A stream with its images, latest first; ``configured`` is false where only images are left of it."""

    name: str
    configured: bool
    images: Sequence[ImageSummary]

    @property
    def latest(self) -> ImageSummary | None:
        """The image that a machine would get now, if there is one."""
        return self.images[0] if self.images else None


def stream_lines(configured: Iterable[str], images: Iterable[ImageSummary]) -> list[StreamLine]:
    """Every stream that is configured or has images, by name."""
    streams: dict[str, list[ImageSummary]] = {name: [] for name in configured}
    known = frozenset(streams)
    for image in newest_first(images):
        streams.setdefault(stream_of(image.name), []).append(image)
    return [StreamLine(name, name in known, streams[name]) for name in sorted(streams)]


def newest_first(images: Iterable[ImageSummary]) -> list[ImageSummary]:
    """The images by creation time; of one time, by name."""
    return sorted(images, key=lambda image: (image.created_at, image.name), reverse=True)
