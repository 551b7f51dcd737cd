"""What a build without a daemon is to be, and what came of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import msgspec

from imaginator.model.build import BuildFailure
from imaginator.model.names import new_build_id
from imaginator.rpc.client import Client


class Origins(NamedTuple):
    """Where source images come from, beside the local store.

    One there that is older than ``max_source_age`` seconds does not count, with 0 any will do. ``daemon`` opens a
    client, None where no daemon is named; ``configuration`` is a URL, empty for none.
    """

    max_source_age: float
    daemon: Callable[[], Client] | None
    configuration: str


class LocalBuild(msgspec.Struct, kw_only=True, dict=True):
    """One build of the manifest in a directory; ``state`` is the directory of the local store."""

    manifest: Path
    stream: str
    state: Path
    variables: dict[str, str]
    variables_file: str
    expires_in: float
    show_log: bool
    origins: Origins

    @cached_property
    def id(self) -> str:
        """A build id of its own."""
        return new_build_id(datetime.now(UTC))


class Outcome(NamedTuple):
    """The result, which is empty where there is a failure instead."""

    result: str = ""
    failure: BuildFailure | None = None
