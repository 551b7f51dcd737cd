"""The drawing of the graph of streams."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from imaginator.model.graph import Graph
from imaginator.web.drawing import ROW, drawing

NAMES = st.text("abcdefgh", min_size=1, max_size=2)


def test_a_forest() -> None:
    """Sources are left of their dependents, in the middle of their rows."""
    graph = Graph(sources={"web": "base", "db": "base", "shop": "web"}, roots=frozenset({"base", "other"}))
    nodes = {node.name: node for node in drawing(graph).nodes}

    assert ["base", "db", "web", "shop", "other"] == list(nodes)
    assert nodes["base"].x < nodes["db"].x == nodes["web"].x < nodes["shop"].x
    assert nodes["base"].y == (nodes["db"].y + nodes["web"].y) / 2
    assert nodes["web"].y == nodes["shop"].y
    assert nodes["shop"].source == nodes["web"]
    assert nodes["shop"].path.startswith("M")


def test_a_circle() -> None:
    """It is opened at its first name, which tells where the line would lead."""
    nodes = {node.name: node for node in drawing(Graph(sources={"b": "a", "a": "c", "c": "b"})).nodes}

    assert ("c", None) == (nodes["a"].circle, nodes["a"].source)
    assert [""] * 2 == [nodes[name].circle for name in "bc"]


@given(st.dictionaries(NAMES, NAMES, max_size=30), st.frozensets(NAMES, max_size=5))
def test_any_graph(sources: dict[str, str], roots: frozenset[str]) -> None:
    """Every stream is there once, and no two are in one place."""
    graph = Graph(sources=sources, roots=roots - set(sources))
    made = drawing(graph)

    assert sorted(graph.names) == sorted(node.name for node in made.nodes)
    places = {(node.x, node.y) for node in made.nodes}
    assert len(places) == len(made.nodes)
    assert all(node.x + node.width <= made.width and node.y + ROW / 2 <= made.height for node in made.nodes)
