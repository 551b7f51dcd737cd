"""The names that a daemon knows, for shells to complete: asked for quickly, and kept for a while.

Nobody who only pressed a key is told of an error, or waits: of a daemon that cannot be asked, the names are those of
the last time.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from imaginator.model.names import stream_of
from imaginator.rpc.client import Client

FRESH = 20.0
"""Seconds that names are kept, and that a daemon is left alone which could not be asked."""

PATIENCE = 0.6
"""Seconds that all the asking may take: the tool itself needs some of the second that people do not notice."""

_BUILDS = 200
_YEAR = 365 * 86400

Names = dict[str, list[str]]
"""The names of every kind: ``streams`` and ``images``, sorted; ``running`` and ``failed`` builds, latest first."""


class Place(NamedTuple):
    """Where the names of a daemon are kept."""

    host: str
    port: int

    @property
    def path(self) -> Path:
        """The file, below ``$XDG_CACHE_HOME`` or ``~/.cache``."""
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
        return cache / "builder-tool" / f"names-{self.host.replace('/', '_')}-{self.port}.json"


def names_of(place: Place, connect: Callable[[], Client]) -> Names:
    """The daemon's names, at most `FRESH` seconds old where it can be asked; none of an unknown one. Never raises."""
    kept, age = _kept(place.path)
    if age < FRESH:
        return kept
    names = {**kept, **_asked(connect)}
    with contextlib.suppress(OSError):
        _keep(place.path, names)
    return names


def _asked(connect: Callable[[], Client]) -> Names:
    """What the daemon says in the time it has."""
    found: Names = {}

    def ask() -> None:
        # Whatever is there, or is no imaginator at all: it has no names.
        with contextlib.suppress(Exception), connect() as client:
            for names in _answers(client):
                found.update(names)

    # A name server, too, may be silent, and nothing ends the wait for it: the thread ends with the process.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return dict(found)


def _answers(client: Client) -> Iterator[Names]:
    """The names of some kinds, then of more: what comes last may take the daemon long."""
    images = [image["Name"] for image in client.call("ImageServer.ListImages")["Images"]]
    streams = {stream_of(image) for image in images}
    yield {"images": sorted(images), "streams": sorted(streams)}
    builds = client.call("Imaginator.ListBuilds", Limit=_BUILDS)["Builds"]
    streams.update(build["Request"]["StreamName"] for build in builds)
    yield {**_by_state(builds), "streams": sorted(streams)}
    graph = client.call("Imaginator.GetDependencies", MaxAge=_YEAR)
    streams.update(*(graph[part] for part in ("StreamToSource", "UnbuildableSources", "StreamErrors")))
    streams.update(graph["StreamToSource"].values())
    yield {"streams": sorted(streams)}


def _by_state(builds: list[dict[str, Any]]) -> Names:
    running = [build["BuildId"] for build in builds if build["FinishedAt"] is None]
    failed = [build["BuildId"] for build in builds if build["State"] == "failed"]
    return {"running": running, "failed": failed}


def _kept(path: Path) -> tuple[Names, float]:
    """What was kept, and its age in seconds: without end where there is none."""
    try:
        age = time.time() - path.stat().st_mtime
        names: Names = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}, float("inf")
    return names, age if age >= 0 else float("inf")


def _keep(path: Path, names: Names) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
        json.dump(names, file)
    Path(file.name).rename(path)
