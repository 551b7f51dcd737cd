"""One build as a self-contained value, and how it asks for its source image."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

import msgspec

from imaginator.model.build import BuildRequest
from imaginator.model.destinations import EVERYWHERE, Destinations
from imaginator.model.image import Image
from imaginator.model.packagers import PackagerType
from imaginator.model.settings import BootstrapStream, Settings
from imaginator.model.streams import Stream
from imaginator.sandbox.limits import Limits


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """All that a build needs to know.

    ``packager`` is a bootstrap's packager type. ``secrets`` are the variables that expand in locations only.
    ``requester`` is the user that the image is created for, empty for none; ``expires_in`` is in seconds.
    ``privileged``: whoever chose the request's variables has full access. ``keep_failed`` is for how many seconds the
    tree is kept where the build fails.
    """

    build_id: str
    attempt: int
    stream_name: str
    request: BuildRequest
    definition: BootstrapStream | Stream
    packager: PackagerType | None
    arch: str
    secrets: dict[str, str]
    settings: Settings
    requester: str
    expires_in: float
    limits: Limits
    destinations: Destinations = EVERYWHERE
    privileged: bool = False
    keep_failed: float = 0

    @property
    def network(self) -> bool:
        """Whether scripts and tests may use the network where their manifest does not say otherwise."""
        return self.definition.network if isinstance(self.definition, Stream) else True


class SourceWish(NamedTuple):
    """Which image a manifest builds on; ``variables`` are for building it, where that is needed first."""

    stream: str
    commit: str
    tags: dict[str, tuple[str, ...]]
    variables: dict[str, str]


SourceResolver = Callable[[SourceWish], Awaitable[Image]]
"""Gives the image that a wish means; raises `SourceImageNeeded` and the like where there is none."""
