"""Who may build what, who may change an image, and for how long one may be kept.

The sentences are the original's: scripts match them.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from imaginator.model.build import BuildRequest
from imaginator.model.durations import format_duration
from imaginator.model.errors import NotPermitted, Refused
from imaginator.model.identity import Caller
from imaginator.model.image import Image
from imaginator.model.settings import BootstrapStream
from imaginator.model.streams import Stream

LONGEST_KEPT = 86400.0
"""Seconds for which a request may have the tree of a build kept that fails."""


class BuildLimits(NamedTuple):
    """The limits on builds that the flags set; durations in seconds."""

    concurrent: int
    concurrent_per_user: int
    maximum_duration: float
    minimum_expiration: float
    maximum_expiration: float
    maximum_expiration_privileged: float


def check_permission(name: str, definition: BootstrapStream | Stream, caller: Caller) -> None:
    """Raise `NotPermitted` unless the caller has full access or is among the stream's builders."""
    if caller.full_access:
        return
    if isinstance(definition, Stream) and (
        caller.user in definition.builder_users or set(caller.groups) & set(definition.builder_groups)
    ):
        return
    raise NotPermitted(f"no permission to build: {name}")


def check_expiry(request: BuildRequest, caller: Caller, limits: BuildLimits) -> None:
    """Raise `Refused` unless the image's life lies within the limits for this caller."""
    if request.expires_in < limits.minimum_expiration or request.expires_in <= 0:
        raise Refused(f"minimum expiration duration is {format_duration(limits.minimum_expiration)}")
    _check_maximum(request.expires_in, caller, limits)


def check_owner(image: Image, caller: Caller) -> None:
    """Raise `NotPermitted` unless the caller has full access, had the image built, or is among its owners."""
    if caller.full_access or caller.user == image.origin.created_for:
        return
    if caller.user in image.owners.users or set(caller.groups) & set(image.owners.groups):
        return
    raise NotPermitted(f"no permission to change: {image.name}")


def check_new_expiry(
    image: Image, expires_at: datetime | None, now: datetime, caller: Caller, limits: BuildLimits
) -> None:
    """Raise `Refused` where an image may not expire at another time; None for never, which needs full access.

    It may always expire sooner, though not in the past, where it would have to be deleted.
    """
    if expires_at is None:
        if not caller.full_access:
            raise Refused(f"maximum expiration time is {format_duration(limits.maximum_expiration)} for you")
    elif expires_at <= now:
        raise Refused(f"expiration time {expires_at.isoformat()} is past: an image that is to go can be deleted")
    elif image.expires_at is not None and expires_at > image.expires_at:
        _check_maximum((expires_at - now).total_seconds(), caller, limits)


def _check_maximum(seconds: float, caller: Caller, limits: BuildLimits) -> None:
    if seconds > limits.maximum_expiration_privileged:
        raise Refused(f"maximum expiration time is {format_duration(limits.maximum_expiration_privileged)}")
    if not caller.full_access and seconds > limits.maximum_expiration:
        raise Refused(f"maximum expiration time is {format_duration(limits.maximum_expiration)} for you")


def check_keeping(request: BuildRequest) -> None:
    """Raise `Refused` where a failed build's tree is to be kept for too long."""
    if not 0 <= request.keep_failed <= LONGEST_KEPT:
        raise Refused(f"the tree of a failed build is kept for {format_duration(LONGEST_KEPT)} at most")
