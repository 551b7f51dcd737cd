"""Trees as values: nodes survive their encoding, walks go in order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from imaginator.model.tree import Entry, Inode, Kind, Node, decode_node, encode_node, join, walk

inodes = st.builds(
    Inode,
    st.sampled_from(Kind),
    st.integers(0, 0o7777),
    mtime=st.integers(-(2**62), 2**62),
    target=st.binary(),
    attributes=st.lists(st.tuples(st.binary(), st.binary())).map(tuple),
)
nodes = st.lists(st.builds(Entry, st.binary(min_size=1), inodes)).map(lambda entries: Node(tuple(entries)))


@given(nodes)
def test_a_node_survives_its_encoding(node: Node) -> None:
    """Names, targets and attributes are any bytes; equal nodes have equal ids."""
    identity, data = encode_node(node)

    assert node == decode_node(data)
    assert identity == encode_node(decode_node(data))[0]


def test_a_walk_goes_parents_first_and_by_name() -> None:
    """Paths are absolute bytes, of whatever encoding."""
    directory, file = Inode(Kind.DIRECTORY, 0o755), Inode(Kind.REGULAR, 0o644)
    lower, lower_data = encode_node(Node((Entry(b"\xff", file),)))
    top, top_data = encode_node(Node((Entry(b"a", directory, lower), Entry(b"b", file))))
    kept = {lower: decode_node(lower_data), top: decode_node(top_data)}

    paths = [path for path, _ in walk(Entry(b"", directory, top), kept.__getitem__)]

    assert paths == [b"/", b"/a", b"/a/\xff", b"/b"]
    assert join(b"/a", b"x") == b"/a/x"
    assert kept[top].get(b"c") is None
