"""What can be disabled for a while: automatic builds, and requests for builds."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec


class Disabled(StrEnum):
    """What a pause disables."""

    AUTO_BUILDS = "automatic builds"
    BUILD_REQUESTS = "build requests"


class Pause(msgspec.Struct, frozen=True):
    """A pause that somebody has ordered."""

    what: Disabled
    until: datetime
    by: str
