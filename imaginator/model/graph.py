"""Which stream builds on which: circles, what cannot be built, choices by name, and a text for Graphviz."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cached_property

import msgspec

NOBODY: frozenset[str] = frozenset()


class Graph(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """The streams that there are, and on which one each builds.

    ``roots`` are bootstrap streams, which build on none; ``errors`` has streams whose source is not known, each with
    the sentence that says why. Of all names, those ``patterned`` exist by a pattern alone, those ``rebuilt`` are
    rebuilt automatically, and those ``imaged`` have an image.
    """

    sources: dict[str, str] = {}
    roots: frozenset[str] = NOBODY
    errors: dict[str, str] = {}
    patterned: frozenset[str] = NOBODY
    rebuilt: frozenset[str] = NOBODY
    imaged: frozenset[str] = NOBODY

    @cached_property
    def names(self) -> frozenset[str]:
        """Every stream, and every source that is none."""
        return frozenset((*self.sources, *self.sources.values(), *self.roots, *self.errors))

    @cached_property
    def cycles(self) -> tuple[tuple[str, ...], ...]:
        """The circles of streams, each from its first name on, a stream before its source."""
        return tuple(sorted(_cycles(self.sources)))

    @cached_property
    def unbuildable(self) -> frozenset[str]:
        """Sources without an image that nothing can make: no stream, one whose source is unknown, or in a circle."""
        strangers = {name for name in self.sources.values() if not self._is_stream(name) or name in self.errors}
        stuck = (name for cycle in self.cycles if self.imaged.isdisjoint(cycle) for name in cycle)
        return frozenset(strangers - self.imaged).union(stuck)

    @cached_property
    def problems(self) -> dict[str, str]:
        """What is wrong, by stream: the sentence of its error, or of the circle that it is in."""
        circles = {name: describe_cycle(cycle) for cycle in self.cycles for name in cycle}
        return {**circles, **self.errors}

    def chosen(self, excludes: Iterable[str], includes: Iterable[str]) -> Graph:
        """The part without ``excludes`` and their dependents; of ``includes``, their dependents and sources, if any.

        Both are names, or leading parts of names.
        """
        wanted = [name for name in includes if name]
        kept = self._with_relatives(wanted) if wanted else self.names
        return self._only(kept - self._with_dependents(self._matching(excludes)))

    def digraph(self) -> str:
        """The graph in Graphviz' language."""
        grey = self.patterned.intersection(self.sources.values())
        lines = [
            *sorted(f"  {_quoted(name)} -> {_quoted(source)}" for name, source in self.sources.items()),
            *_marked(grey, "fontcolor=grey"),
            *_marked(self.unbuildable.union(self.errors), "fontcolor=red"),
            *_marked(self.rebuilt & self.names, "style=bold"),
        ]
        return "\n".join(["digraph all {", *lines, "}\n"])

    def _is_stream(self, name: str) -> bool:
        return name in self.sources or name in self.roots or name in self.errors

    @cached_property
    def _dependents(self) -> Mapping[str, list[str]]:
        dependents: dict[str, list[str]] = defaultdict(list)
        for name, source in self.sources.items():
            dependents[source].append(name)
        return dependents

    def _matching(self, wanted: Iterable[str]) -> Iterator[str]:
        exact = {name.rstrip("/") for name in wanted} - {""}
        below = tuple(f"{name}/" for name in exact)
        return (name for name in self.names if name in exact or name.startswith(below))

    def _with_dependents(self, names: Iterable[str]) -> set[str]:
        found = set(names)
        pending = list(found)
        while pending:
            more = [name for name in self._dependents.get(pending.pop(), ()) if name not in found]
            found.update(more)
            pending += more
        return found

    def _with_relatives(self, wanted: Iterable[str]) -> frozenset[str]:
        found = self._with_dependents(self._matching(wanted))
        for name in list(found):
            while (name := self.sources.get(name, name)) not in found:
                found.add(name)
        return frozenset(found)

    def _only(self, kept: Collection[str]) -> Graph:
        return Graph(
            sources={name: source for name, source in self.sources.items() if name in kept},
            roots=self.roots.intersection(kept),
            errors={name: error for name, error in self.errors.items() if name in kept},
            patterned=self.patterned.intersection(kept),
            rebuilt=self.rebuilt.intersection(kept),
            imaged=self.imaged.intersection(kept),
        )


def describe_cycle(cycle: tuple[str, ...]) -> str:
    """A circle of streams, for people."""
    return f"build cycle: {' -> '.join([*cycle, cycle[0]])}"


def _cycles(sources: Mapping[str, str]) -> Iterator[tuple[str, ...]]:
    seen: set[str] = set()
    for start in sources:
        path, name = [], start
        while name in sources and name not in seen:
            seen.add(name)
            path.append(name)
            name = sources[name]
        if name in path:
            circle = path[path.index(name) :]
            first = circle.index(min(circle))
            yield (*circle[first:], *circle[:first])


def _marked(names: Iterable[str], attribute: str) -> Iterator[str]:
    return (f"  {_quoted(name)} [{attribute}]" for name in sorted(names))


def _quoted(name: str) -> str:
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
