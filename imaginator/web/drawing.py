"""The graph of streams as a drawing: sources on the left, what builds on them to their right, a line each.

Every stream builds on one other at most, so that the graph is a forest but for circles: a stream has the row of the
middle of its dependents, and no two lines cross. Circles are opened at their first name, which says on what it builds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from imaginator.model.graph import Graph

ROW = 26
LETTER = 7.3
"""Units of the drawing: the height of a row, the width of a letter of the pages' typewriter face at 12 units."""

GAP = 56
"""Between two columns."""

MARGIN = 12


class Node(NamedTuple):
    """A stream in the drawing; ``x`` is its left edge, ``y`` its middle. ``source`` is what a line leads to, if any.

    ``circle`` is the name of the source where a line would lead back.
    """

    name: str
    x: float
    y: float
    width: float
    source: Node | None
    circle: str

    @property
    def path(self) -> str:
        """The line from the source, as SVG has it."""
        assert self.source is not None
        start = self.source.x + self.source.width
        middle = (start + self.x) / 2
        return f"M{start:g} {self.source.y:g}C{middle:g} {self.source.y:g} {middle:g} {self.y:g} {self.x:g} {self.y:g}"


class Drawing(NamedTuple):
    """The nodes, sources first, and the size of it all."""

    nodes: list[Node]
    width: float
    height: float


def drawing(graph: Graph) -> Drawing:
    """The drawing of a graph; for a worker thread where that is large."""
    opened = {cycle[0]: graph.sources[cycle[0]] for cycle in graph.cycles}
    sources = {name: source for name, source in graph.sources.items() if name not in opened}
    dependents: dict[str, list[str]] = defaultdict(list)
    for name in sorted(sources):
        dependents[sources[name]].append(name)
    tops = sorted(name for name in graph.names if name not in sources)
    order = list(_depth_first(tops, dependents))
    columns = _columns(order, sources)
    rows = _rows(order, dependents)
    nodes = _nodes(order, sources, opened, columns, rows)
    right = max((node.x + node.width for node in nodes.values()), default=0)
    bottom = max((node.y for node in nodes.values()), default=0)
    return Drawing(list(nodes.values()), right + MARGIN, bottom + ROW / 2 + MARGIN)


def _depth_first(tops: list[str], dependents: Mapping[str, list[str]]) -> Iterator[str]:
    pending = tops[::-1]
    while pending:
        name = pending.pop()
        yield name
        pending.extend(reversed(dependents.get(name, ())))


def _columns(order: list[str], sources: Mapping[str, str]) -> dict[str, float]:
    """The left edge of each stream: columns are as wide as their longest names."""
    depths: dict[str, int] = {}
    widest: dict[int, float] = defaultdict(float)
    for name in order:
        depth = depths[name] = depths[sources[name]] + 1 if name in sources else 0
        widest[depth] = max(widest[depth], _width(name))
    edges = [float(MARGIN)]
    for depth in range(len(widest)):
        edges.append(edges[-1] + widest[depth] + GAP)
    return {name: edges[depth] for name, depth in depths.items()}


def _rows(order: list[str], dependents: Mapping[str, list[str]]) -> dict[str, float]:
    """The middle of each stream's row."""
    rows: dict[str, float] = {}
    free = MARGIN + ROW / 2
    for name in order:
        if not dependents.get(name):
            rows[name] = free
            free += ROW
    for name in reversed(order):
        if below := dependents.get(name):
            rows[name] = (rows[below[0]] + rows[below[-1]]) / 2
    return rows


def _nodes(
    order: list[str],
    sources: Mapping[str, str],
    opened: Mapping[str, str],
    columns: Mapping[str, float],
    rows: Mapping[str, float],
) -> dict[str, Node]:
    nodes: dict[str, Node] = {}
    for name in order:
        source = nodes[sources[name]] if name in sources else None
        nodes[name] = Node(name, columns[name], rows[name], _width(name), source, opened.get(name, ""))
    return nodes


def _width(name: str) -> float:
    return len(name) * LETTER + 16
