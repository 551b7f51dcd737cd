"""The streams at a glance: what is configured joined with what the store holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from imaginator.model.names import stream_of
from imaginator.store.interface import ImageSummary

if TYPE_CHECKING:
    from imaginator.schedule.builder import Verdict

MOST_TOLD = 20
"""How many streams are named of which the last cycle has something to tell."""


class StreamLine(NamedTuple):
    """A stream with its images, latest first; ``configured`` is false where only images are left of it.

    ``verdict`` is what the last cycle made of it, None where it has no part in them.
    """

    name: str
    configured: bool
    images: Sequence[ImageSummary]
    verdict: Verdict | None = None

    @property
    def latest(self) -> ImageSummary | None:
        """The image that a machine would get now, if there is one."""
        return self.images[0] if self.images else None


class Rebuilds(NamedTuple):
    """What the last cycle made of all streams: the ones that are ``told``, latest first, and how many others."""

    told: Sequence[tuple[str, Verdict]]
    more: int
    unchanged: int


def rebuilds(verdicts: Mapping[str, Verdict]) -> Rebuilds:
    """Those of which there is something to tell, and how many there is nothing to tell of."""
    told = [(name, verdict) for name, verdict in sorted(verdicts.items()) if not verdict.unchanged]
    told.sort(key=lambda one: one[1].at, reverse=True)
    return Rebuilds(told[:MOST_TOLD], max(len(told) - MOST_TOLD, 0), len(verdicts) - len(told))


def stream_lines(
    configured: Iterable[str], images: Iterable[ImageSummary], verdicts: Mapping[str, Verdict] = {}
) -> list[StreamLine]:
    """Every stream that is configured or has images, by name."""
    streams: dict[str, list[ImageSummary]] = {name: [] for name in configured}
    known = frozenset(streams)
    for image in newest_first(images):
        streams.setdefault(stream_of(image.name), []).append(image)
    return [StreamLine(name, name in known, streams[name], verdicts.get(name)) for name in sorted(streams)]


def newest_first(images: Iterable[ImageSummary]) -> list[ImageSummary]:
    """The images by creation time; of one time, by name."""
    return sorted(images, key=lambda image: (image.created_at, image.name), reverse=True)
