"""Which streams there are: those with a name, and those of patterns that somebody has named; and the graph of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from imaginator.model.errors import ConfigurationError, ImaginatorError, NotFound
from imaginator.model.graph import NOBODY, Graph
from imaginator.model.settings import Settings
from imaginator.model.streams import Stream, Streams
from imaginator.schedule.places import Found


class Census(NamedTuple):
    """The streams of a configuration. Names of patterns count that have an image, are listed, or are ``followed``.

    The latter are sources of others.
    """

    settings: Settings = Settings()
    streams: Streams = Streams({}, {})
    imaged: frozenset[str] = NOBODY
    followed: frozenset[str] = NOBODY

    def is_of(self, settings: Settings, streams: Streams) -> bool:
        """Whether it is of this very configuration."""
        return self.settings is settings and self.streams is streams

    def has_streams_of(self, other: Census) -> bool:
        """Whether both have the same streams."""
        return self.is_of(other.settings, other.streams) and self._candidates() == other._candidates()

    def definitions(self) -> tuple[dict[str, Stream], dict[str, ImaginatorError]]:
        """The image streams, and what is wrong with names that should be some; for worker threads."""
        bootstraps = self.settings.bootstrap_streams
        definitions = {name: stream for name, stream in self.streams.named.items() if name not in bootstraps}
        errors: dict[str, ImaginatorError] = {}
        for name in sorted(self._candidates() - definitions.keys() - bootstraps.keys()):
            try:
                definition = self.streams.find(name)
            except ConfigurationError as error:
                errors[name] = error
                continue
            if definition is not None:
                definitions[name] = definition
            elif name in self.settings.image_streams_to_auto_rebuild:
                errors[name] = NotFound(f"unknown stream: {name}")
        return definitions, errors

    def graph(self, found: Mapping[str, Found]) -> Graph:
        """The graph of what was found of each stream, without those that nobody names any more."""
        sources = {name: source for name, source in found.items() if isinstance(source, str)}
        errors = {name: str(error) for name, error in found.items() if not isinstance(error, str)}
        for name in self._forgotten(sources):
            sources.pop(name, None)
            errors.pop(name, None)
        bootstraps = self.settings.bootstrap_streams
        named = self.streams.named
        return Graph(
            sources=sources,
            roots=frozenset(bootstraps),
            errors=errors,
            patterned=frozenset(name for name in (*sources, *errors) if name not in named),
            rebuilt=frozenset((*bootstraps, *self.settings.image_streams_to_auto_rebuild)),
            imaged=self.imaged,
        )

    def followers(self, graph: Graph) -> frozenset[str]:
        """Sources in ``graph`` that are streams by a pattern, and were not looked at yet."""
        strangers = set(graph.sources.values()) - graph.sources.keys() - graph.errors.keys() - graph.roots
        return frozenset(name for name in strangers if self._may_exist(name))

    def _may_exist(self, name: str) -> bool:
        try:
            return self.streams.find(name) is not None
        except ConfigurationError:
            return True

    def _candidates(self) -> frozenset[str]:
        return self.imaged.union(self.followed, self.settings.image_streams_to_auto_rebuild)

    def _forgotten(self, sources: Mapping[str, str]) -> Iterable[str]:
        """Of those followed, the ones that no other stream leads to."""
        doubtful = self.followed.difference(
            self.imaged,
            self.settings.image_streams_to_auto_rebuild,
            self.streams.named,
            self.settings.bootstrap_streams,
        )
        if not doubtful:
            return doubtful
        reached: set[str] = set()
        for start in sources.keys() - doubtful:
            name = sources[start]
            while name in doubtful and name not in reached:
                reached.add(name)
                name = sources.get(name, "")
        return doubtful - reached
