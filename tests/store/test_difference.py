"""Differences of trees."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from imaginator.model.tree import Inode, Kind
from imaginator.store.difference import differences
from tests.support.store_parts import Forest

DIRECTORY = Inode(Kind.DIRECTORY, 0o755)

NAMES = st.sampled_from("ab")
FILES = st.dictionaries(
    st.lists(NAMES, min_size=1, max_size=4).map("/".join), st.integers(0, 2).map(lambda size: Inode(Kind.REGULAR, size))
)


def grown(files: dict[str, Inode]) -> dict[bytes, Inode]:
    """A tree of these files; where one is also a directory of another, it is that."""
    tree = {b"/": DIRECTORY}
    for path, inode in files.items():
        parts = path.encode().split(b"/")
        for count in range(1, len(parts)):
            tree[b"/" + b"/".join(parts[:count])] = DIRECTORY
        tree.setdefault(b"/" + b"/".join(parts), inode)
    return tree


@given(FILES, FILES)
def test_every_differing_path_is_told_once_and_in_order(old: dict[str, Inode], new: dict[str, Inode]) -> None:
    """The same as comparing all paths."""
    forest, before, after = Forest(), grown(old), grown(new)
    found = list(differences(forest.plant(before), forest.plant(after), forest))

    expected = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    assert sorted(expected, key=lambda path: path.split(b"/")) == [difference.path for difference in found]
    for path, one, other in found:
        assert (before.get(path), after.get(path)) == (one and one.inode, other and other.inode)


def test_equal_subtrees_are_not_read() -> None:
    """Nodes are read only on the way to what differs."""
    forest = Forest()
    tree = {b"/": DIRECTORY, **{b"/%d" % number: DIRECTORY for number in range(50)}}
    tree |= {b"/%d/file" % number: Inode(Kind.REGULAR, 0o644) for number in range(50)}
    changed = {**tree, b"/7/file": replace(tree[b"/7/file"], mode=0o600)}
    before, after = forest.plant(tree), forest.plant(changed)
    forest.read.clear()

    assert [b"/7/file"] == [difference.path for difference in differences(before, after, forest)]
    assert 4 == len(forest.read)
