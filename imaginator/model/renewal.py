"""What a stream's definition says of automatic rebuilds."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from imaginator.model.durations import parse_duration


class RebuildWhen(StrEnum):
    """When an automatic rebuild makes a new image."""

    CHANGED = "changed"
    ALWAYS = "always"


class Renewal(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """Part of every stream's definition.

    Without ``rebuild_when`` it depends on whether all that goes into an image can be seen. An image older than
    ``maximum_image_age`` (such as ``30d``; empty: of any age) is replaced although nothing has changed.
    """

    rebuild_when: RebuildWhen | None = None
    maximum_image_age: str = ""

    def __post_init__(self) -> None:
        """Read the age once; msgspec tells of a ValueError with the field's place."""
        if self.maximum_image_age:
            parse_duration(self.maximum_image_age)

    @property
    def oldest(self) -> float:
        """The maximum age in seconds; 0 for none."""
        return parse_duration(self.maximum_image_age) if self.maximum_image_age else 0
