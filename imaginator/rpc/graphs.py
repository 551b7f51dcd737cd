"""The operations that tell which stream builds on which."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import msgspec

from imaginator.model.identity import Caller

if TYPE_CHECKING:
    from imaginator.schedule.builder import Builder


class WantedStreams(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """Which streams: all but ``excludes`` and their dependents; of ``includes``, if any, with dependents and sources.

    Both are names, or leading parts of them. An answer that is known is given while it is younger than ``max_age``
    seconds; with 0 it is found out anew.
    """

    max_age: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    excludes: tuple[str, ...] = ()
    includes: tuple[str, ...] = ()


class StreamDependencies(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """On which stream each builds. ``generated_at`` is null where no attempt has succeeded yet.

    ``unbuildable_sources`` has a key for each source that has no image and cannot be built; ``stream_errors`` says
    what is wrong with a stream's manifest, or in which circle it is.
    """

    fetch_log: str
    generated_at: datetime | None
    last_attempt_at: datetime | None
    last_attempt_error: str
    stream_to_source: dict[str, str]
    unbuildable_sources: dict[str, dict[str, str]]
    stream_errors: dict[str, str]


class DirectedGraph(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """The same as a text for Graphviz."""

    fetch_log: str
    generated_at: datetime | None
    last_attempt_at: datetime | None
    last_attempt_error: str
    graphviz_dot: str


async def get_dependencies(builder: Builder, _caller: Caller, request: WantedStreams) -> StreamDependencies:
    """The chosen part of the graph, as a table."""
    known = await builder.dependencies.choose(request.max_age, request.excludes, request.includes)
    return StreamDependencies(
        fetch_log=known.fetch_log,
        generated_at=known.generated_at,
        last_attempt_at=known.attempted_at,
        last_attempt_error=known.attempt_error,
        stream_to_source=known.graph.sources,
        unbuildable_sources={name: {} for name in sorted(known.graph.unbuildable)},
        stream_errors=known.graph.problems,
    )


async def get_directed_graph(builder: Builder, _caller: Caller, request: WantedStreams) -> DirectedGraph:
    """The chosen part of the graph, as a text."""
    known = await builder.dependencies.choose(request.max_age, request.excludes, request.includes)
    return DirectedGraph(
        fetch_log=known.fetch_log,
        generated_at=known.generated_at,
        last_attempt_at=known.attempted_at,
        last_attempt_error=known.attempt_error,
        graphviz_dot=known.graph.digraph(),
    )
