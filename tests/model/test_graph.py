"""The graph of streams: circles, what cannot be built, choices, order and text, against plain references."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from imaginator.model.graph import Graph, describe_cycle

NAMES = ("a", "a/x", "a/x/y", "ab", "b", "b/x", "c", "d")
names = st.sampled_from(NAMES)
sets = st.frozensets(names, max_size=4)


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Any streams: some build on some names, some are bootstraps, some have errors."""
    sources = draw(st.dictionaries(names, names))
    rest = [name for name in NAMES if name not in sources]
    roots = draw(st.frozensets(st.sampled_from(rest))) if rest else frozenset()
    errors = {name: "unreadable" for name in rest if name not in roots and draw(st.booleans())}
    return Graph(
        sources=sources, roots=roots, errors=errors, patterned=draw(sets), rebuilt=draw(sets), imaged=draw(sets)
    )


def chain(graph: Graph, name: str) -> Iterator[str]:
    """A stream's source, the source of that, and so on; for ever in a circle."""
    while name in graph.sources:
        name = graph.sources[name]
        yield name


def below(graph: Graph, name: str) -> list[str]:
    """All that a stream stands on: a chain is no longer than there are names."""
    return [source for _, source in zip(NAMES, chain(graph, name), strict=False)]


def matches(name: str, wanted: frozenset[str]) -> bool:
    """Whether a name or a leading part of it is wanted."""
    parts = name.split("/")
    return any("/".join(parts[: count + 1]) in wanted for count in range(len(parts)))


@given(graphs())
def test_cycles(graph: Graph) -> None:
    """Exactly the streams that stand on themselves are in a circle, each in one, which follows the sources."""
    expected = {name for name in NAMES if name in below(graph, name)}

    assert expected == {name for cycle in graph.cycles for name in cycle}
    assert len(expected) == sum(map(len, graph.cycles))
    for cycle in graph.cycles:
        assert min(cycle) == cycle[0]
        assert [*cycle[1:], cycle[0]] == [graph.sources[name] for name in cycle]


@given(graphs())
def test_unbuildable(graph: Graph) -> None:
    """A source is unbuildable that has no image, and is no stream, has an error, or stands on itself without any."""

    def hopeless(name: str) -> bool:
        circle = below(graph, name)
        if name in circle:
            return graph.imaged.isdisjoint(circle)
        return name not in graph.imaged and name not in graph.sources and name not in graph.roots

    assert {name for name in graph.sources.values() if hopeless(name)} == graph.unbuildable


@given(graphs(), sets, sets)
def test_choices(graph: Graph, excludes: frozenset[str], includes: frozenset[str]) -> None:
    """A name is left out with its dependents, taken in with its dependents and its sources; leaving out wins."""

    def related(name: str, wanted: frozenset[str]) -> bool:
        return matches(name, wanted) or any(matches(source, wanted) for source in below(graph, name))

    meant = {name for name in graph.names if related(name, includes)}
    meant |= {source for name in meant for source in below(graph, name)}
    kept = {name for name in meant if not related(name, excludes)} if includes else {
        name for name in graph.names if not related(name, excludes)
    }  # fmt: skip
    chosen = graph.chosen(excludes, includes)
    streams = {*graph.sources, *graph.roots, *graph.errors}
    named = {source for name, source in graph.sources.items() if name in kept}

    assert kept & (streams | named) == chosen.names
    assert {name: source for name, source in graph.sources.items() if name in kept} == chosen.sources
    assert graph.unbuildable & named == chosen.unbuildable
    assert graph.chosen({f"{name}/" for name in excludes}, includes) == chosen


def test_text() -> None:
    """Edges first, then what is marked: grey by a pattern, red for what cannot be built, bold for the automatic."""
    graph = Graph(
        sources={"web": "base", "db": "lost", "user/web": "user/base", "user/base": "base"},
        roots=frozenset({"base"}),
        errors={"broken": "no directory 'broken'"},
        patterned=frozenset({"user/web", "user/base"}),
        rebuilt=frozenset({"base", "web", "elsewhere"}),
    )

    assert (
        'digraph all {\n'
        '  "db" -> "lost"\n'
        '  "user/base" -> "base"\n'
        '  "user/web" -> "user/base"\n'
        '  "web" -> "base"\n'
        '  "user/base" [fontcolor=grey]\n'
        '  "broken" [fontcolor=red]\n'
        '  "lost" [fontcolor=red]\n'
        '  "base" [style=bold]\n'
        '  "web" [style=bold]\n'
        '}\n'
    ) == graph.digraph()  # fmt: skip


def test_text_of_hostile_names() -> None:
    """A name ends where it ends, whatever is in it."""
    assert '  "a\\"b\\\\" -> "c"' in Graph(sources={'a"b\\': "c"}).digraph()


def test_sentences() -> None:
    """A stream in a circle is told of the circle, others of their errors."""
    graph = Graph(sources={"b": "c", "c": "a", "a": "b", "over": "a"}, errors={"x": "unreadable"})

    circle = "build cycle: a -> b -> c -> a"
    assert {"a": circle, "b": circle, "c": circle, "x": "unreadable"} == graph.problems
    assert "build cycle: a -> a" == describe_cycle(("a",))
