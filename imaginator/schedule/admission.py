"""Who may build what, and for how long an image may be kept. The sentences are the original's: scripts match them."""

from __future__ import annotations

from typing import NamedTuple

from imaginator.model.build import BuildRequest
from imaginator.model.durations import format_duration
from imaginator.model.errors import NotPermitted, Refused
from imaginator.model.identity import Caller
from imaginator.model.settings import BootstrapStream
from imaginator.model.streams import Stream


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
    if request.expires_in > limits.maximum_expiration_privileged:
        raise Refused(f"maximum expiration time is {format_duration(limits.maximum_expiration_privileged)}")
    if not caller.full_access and request.expires_in > limits.maximum_expiration:
        raise Refused(f"maximum expiration time is {format_duration(limits.maximum_expiration)} for you")
