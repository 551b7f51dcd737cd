"""A build as a value: what was asked for, where it stands, how it ended. All durations are seconds, all times UTC."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec


class State(StrEnum):
    """The life of a build; the last three are final."""

    QUEUED = "queued"
    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether nothing more will happen."""
        return self in (State.SUCCEEDED, State.FAILED, State.CANCELLED)


class Stage(StrEnum):
    """The named parts of a running build, in the order they come."""

    FETCH = "fetch"
    SOURCE = "source"
    BOOTSTRAP = "bootstrap"
    FILES = "files"
    PRE_INSTALL_SCRIPTS = "pre-install-scripts"
    PACKAGES = "packages"
    POST_INSTALL_FILES = "post-install-files"
    SCRIPTS = "scripts"
    CLEAN = "clean"
    POST_CLEANUP_SCRIPTS = "post-cleanup-scripts"
    TESTS = "tests"
    PACK = "pack"
    STORE = "store"


class BuildRequest(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """What a caller asks for. 0 means not given for ``max_source_age`` and ``maximum_build_duration``.

    ``fail_if_busy``: refuse it where it could not start at once.
    ``keep_failed`` is for how many seconds the tree is kept where the build, or that of a source image, fails.
    """

    stream_name: str
    git_branch: str = ""
    expires_in: float = 0
    max_source_age: float = 0
    maximum_build_duration: float = 0
    variables: dict[str, str] = {}
    disable_recursive_build: bool = False
    fail_if_busy: bool = False
    keep_failed: float = 0


class BuildFailure(msgspec.Struct, frozen=True, rename="pascal"):
    """Why a build did not succeed: the error's code and kind (`imaginator.model.errors`), sentence and details."""

    code: int
    kind: str
    message: str
    data: dict[str, object] = {}


class StageTime(msgspec.Struct, frozen=True, rename="pascal"):
    """How long one stage took, in seconds."""

    stage: Stage
    seconds: float


class BuildRecord(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """One build as the queue, the pages and RPC show it.

    ``requester`` is a user name; empty for builds that the daemon asked for itself (a source image). ``privileged``:
    the requester had full access, so that no limit of users holds. ``attempt`` counts starts: 0 while never started.
    ``parent`` is the build that waits for this one, if any. ``for_people``: somebody asked for it, or for a build that
    waits for it, so that it comes before those that the daemon wants for itself. ``place`` is where it stands in the
    queue, 1 being next; 0 where it is not queued. It is told, and never written down. ``reason`` is why the daemon
    builds it by itself.
    """

    build_id: str
    request: BuildRequest
    requester: str
    submitted_at: datetime
    state: State = State.QUEUED
    stage: Stage | None = None
    attempt: int = 0
    started_at: datetime | None = None
    finished_at: datetime | None = None
    image_name: str = ""
    failure: BuildFailure | None = None
    stages: tuple[StageTime, ...] = ()
    parent: str = ""
    privileged: bool = False
    for_people: bool = False
    place: int = 0
    reason: str = ""
