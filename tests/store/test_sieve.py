"""Filters over whole trees: right with and without memory, and cheap with it."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from imaginator.model.filters import Filter
from imaginator.model.tree import Entry, Inode, Kind
from imaginator.store.sieve import WORTH_REMEMBERING, Sieve, SieveMemory
from tests.support.store_parts import Forest

DIRECTORY = Inode(Kind.DIRECTORY, 0o755)
FILE = Inode(Kind.REGULAR, 0o644)
LARGE = {
    b"/": DIRECTORY,
    **{b"/%d" % number: DIRECTORY for number in range(5)},
    **{b"/%d/%02d" % (number % 5, number): FILE for number in range(20 * WORTH_REMEMBERING)},
}


def with_parents(files: set[str]) -> dict[bytes, Inode]:
    """A tree with these files, whose directories are the names before each slash."""
    tree = {b"/": DIRECTORY}
    for file in sorted(files):
        parts = file.encode().split(b"/")
        for count in range(1, len(parts)):
            tree[b"/" + b"/".join(parts[:count])] = DIRECTORY
        tree.setdefault(b"/" + b"/".join(parts), FILE)
    return tree


def matches(patterns: Filter, tree: Mapping[bytes, Inode]) -> list[bytes]:
    """The matching paths that have no matching ancestor, found by looking at every one."""
    found: list[bytes] = []
    for path in sorted(tree):
        if patterns.matches(path) and not any(path.startswith(above + b"/") for above in found):
            found.append(path)
    return found


FILES = st.sets(st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map("/".join), max_size=12)


@given(FILES, st.lists(st.sampled_from(["/a", "/b/.*", "/a/b$", "/c/c/a", "!", "/.*"]), max_size=3))
def test_the_matches_are_those_of_every_path(files: set[str], lines: list[str]) -> None:
    """Whatever the tree and the filter, asked once or again."""
    forest, patterns, tree = Forest(), Filter(lines), with_parents(files)
    root = forest.plant(tree)
    sieve = Sieve(patterns, forest, SieveMemory())
    expected = matches(patterns, tree)

    assert expected == sorted(sieve.matching(b"/", root.node))
    assert expected == sorted(sieve.matching(b"/", root.node))
    assert (not expected) == sieve.spares(b"/", root.node)


def change(tree: dict[bytes, Inode], path: bytes, inode: Inode, forest: Forest) -> Entry:
    """The same tree with one more path."""
    return forest.plant({**tree, path: inode})


def test_only_what_changed_is_looked_at_again() -> None:
    """A second tree that differs in one directory costs that directory and the root."""
    forest, memory = Forest(), SieveMemory()
    sieve = Sieve(Filter(["/nothing"]), forest, memory)
    first, second = forest.plant(LARGE), change(LARGE, b"/3/new", FILE, forest)
    assert sieve.spares(b"/", first.node)
    forest.read.clear()

    assert sieve.spares(b"/", first.node)
    assert [] == forest.read
    assert sieve.spares(b"/", second.node)
    assert 2 == len(forest.read)


def test_filters_do_not_share_what_is_remembered() -> None:
    """Nor do the paths at which one node lies."""
    forest, memory = Forest(), SieveMemory()
    root = forest.plant(LARGE)

    assert Sieve(Filter(["/nothing"]), forest, memory).spares(b"/", root.node)
    assert not Sieve(Filter(["/4/04"]), forest, memory).spares(b"/", root.node)
    assert [b"/4/04"] == list(Sieve(Filter(["/4/04"]), forest, memory).matching(b"/", root.node))
    assert not Sieve(Filter(["/x/4"]), forest, memory).spares(b"/x", root.node)


def test_memory_is_bounded() -> None:
    """The oldest go first."""
    memory = SieveMemory(limit=2)
    for key in (b"1", b"2", b"3"):
        memory.add(key)

    assert [False, True, True] == [key in memory for key in (b"1", b"2", b"3")]


def test_a_line_break_makes_no_two_lines() -> None:
    """What one filter spares is not taken for what another one does that looks like it when its lines are joined."""
    forest, memory = Forest(), SieveMemory()
    root = forest.plant(LARGE)
    one, two = Filter(["/none\n/0"]), Filter(["/none", "/0"])

    assert Sieve(one, forest, memory).spares(b"/", root.node)
    assert [b"/0"] == list(Sieve(two, forest, memory).matching(b"/", root.node))
