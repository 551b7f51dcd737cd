"""Trees of ours as the wire's, and back."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imaginator.model.tree import Entry, Inode, Kind, Node, decode_node, encode_node, join, walk
from imaginator.srpc.decoding import Decoder
from imaginator.srpc.encoding import Encoder
from imaginator.srpc.filesystem import (
    DirectoryEntry,
    DirectoryInode,
    FileSystem,
    RegularInode,
    SpecialInode,
    SymlinkInode,
)
from imaginator.srpc.trees import BadTree, from_wire, to_wire

NAMES = st.binary(min_size=1, max_size=8).filter(
    lambda name: name not in {b".", b".."} and b"/" not in name and b"\0" not in name
)
IDS = st.integers(0, (1 << 32) - 1)
MODES = st.integers(0, 0o7777)
TIMES = st.integers(-(10**18), 10**18)
ATTRIBUTES = st.sampled_from([(), ((b"user.colour", b"blue"),)])


def contents(size: int) -> dict[str, Any]:
    """A file's size and object; an empty one has none."""
    return {"size": size, "object": bytes((size % 251,)) * 64 if size else b""}


FILES = st.one_of(
    st.builds(
        lambda size, **fields: Inode(Kind.REGULAR, **contents(size), **fields),
        st.integers(0, 1 << 40),
        mode=MODES,
        uid=IDS,
        gid=IDS,
        mtime=TIMES,
        attributes=ATTRIBUTES,
    ),
    st.builds(Inode, st.just(Kind.SYMLINK), st.just(0o777), IDS, IDS, target=st.binary(min_size=1, max_size=9)),
    st.builds(Inode, st.just(Kind.COMPUTED), MODES, IDS, IDS, target=st.just(b"host:6972")),
    st.builds(
        Inode,
        st.sampled_from([Kind.CHARACTER, Kind.BLOCK, Kind.FIFO]),
        MODES,
        IDS,
        IDS,
        TIMES,
        device=st.integers(0, 1 << 40),
    ),
)
Plan = dict[bytes, Any]
PLANS: st.SearchStrategy[Plan] = st.recursive(
    FILES, lambda inner: st.dictionaries(NAMES, inner, max_size=4), max_leaves=12
).filter(lambda plan: isinstance(plan, dict))  # type: ignore[assignment]


def made(plan: Plan, nodes: dict[bytes, Node], name: bytes = b"", path: bytes = b"/") -> Entry:
    """A tree as it is planned; its nodes are added."""
    entries = [
        made(part, nodes, child, join(path, child)) if isinstance(part, dict) else Entry(child, part)
        for child, part in sorted(plan.items())
    ]
    node = Node(tuple(entries))
    identity, _ = encode_node(node)
    nodes[identity] = node
    return Entry(name, Inode(Kind.DIRECTORY, 0o755, 1, 2), identity)


def linked(plan: Plan) -> Plan:
    """The same with a second name in the root for its first file, if it has one."""
    files = [name for name, part in sorted(plan.items()) if not isinstance(part, dict)]
    if not files or b"zz" in plan:
        return plan
    inode = msgspec.structs.replace(plan[files[0]], link=b"/" + min(files[0], b"zz"))
    return {**plan, files[0]: inode, b"zz": inode}


def without_attributes(root: Entry, nodes: dict[bytes, Node]) -> dict[bytes, Inode]:
    """What is at each path, but for what the wire cannot hold."""
    return {path: msgspec.structs.replace(entry.inode, attributes=()) for path, entry in walk(root, nodes.__getitem__)}


@given(PLANS.map(linked))
def test_there_and_back(plan: Plan) -> None:
    """By way of gob, everything is as it was; what is lost is told."""
    nodes: dict[bytes, Node] = {}
    root = made(plan, nodes)
    sent = to_wire(root, nodes.__getitem__)
    decoder = Decoder()
    decoder.feed(Encoder().encode(sent.tree))
    received = from_wire(decoder.next(FileSystem))
    read = {identity: decode_node(data) for identity, data in received.nodes.items()}
    before, after = without_attributes(root, nodes), without_attributes(received.root, read)

    assert before == after
    assert sent.lost == [path for path, entry in walk(root, nodes.__getitem__) if entry.inode.attributes]
    assert received.links == tuple(sorted(groups(before)))


def groups(tree: dict[bytes, Inode]) -> list[tuple[bytes, ...]]:
    """The groups of hard links."""
    heads = {inode.link for inode in tree.values() if inode.link}
    return [tuple(sorted(path for path, inode in tree.items() if inode.link == head)) for head in heads]


def test_what_is_counted() -> None:
    """Files by inode, not by name; directories with the root."""
    inode = Inode(Kind.REGULAR, 0o644, **contents(7), link=b"/a")
    nodes: dict[bytes, Node] = {}
    tree = to_wire(made({b"a": inode, b"d": {b"b": inode}}, nodes), nodes.__getitem__).tree

    assert (1, 7, 2) == (tree.num_regular_inodes, tree.total_data_bytes, tree.directory_count)
    assert 2 == len(tree.inode_table)


def tree_of(*entries: tuple[str, int], **inodes: Any) -> FileSystem:
    """A tree with these names in its root."""
    table = {int(number[1:]): inode for number, inode in inodes.items()}
    return FileSystem(table, directory_inode=DirectoryInode([DirectoryEntry(*entry) for entry in entries]))


LOOP = DirectoryInode([DirectoryEntry("again", 1)])


@pytest.mark.parametrize(
    ("tree", "why"),
    [
        (tree_of(("a", 1)), "/a: there is no inode 1"),
        (tree_of(("", 1), i1=RegularInode()), "an entry called ''"),
        (tree_of(("..", 1), i1=RegularInode()), "an entry called '..'"),
        (tree_of(("a/b", 1), i1=RegularInode()), "an entry called 'a/b'"),
        (tree_of(("a\0", 1), i1=RegularInode()), "an entry called"),
        (tree_of(("a", 1), ("a", 1), i1=RegularInode()), "/: two entries have one name"),
        (tree_of(("a", 1), ("b", 1), i1=DirectoryInode()), "/b: a directory that has another name"),
        (tree_of(("a", 1), i1=LOOP), "/a/again: a directory that has another name"),
        (tree_of(("a", 1), i1=SpecialInode(mode=0o140755)), "an inode of mode 140755"),
    ],
)
def test_trees_that_are_none(tree: FileSystem, why: str) -> None:
    """Each is refused in a sentence."""
    with pytest.raises(BadTree) as refused:
        from_wire(tree)

    assert why in str(refused.value)


def test_a_deep_tree() -> None:
    """As deep as paths may be, and deeper."""
    table: dict[int, Any] = {number: DirectoryInode([DirectoryEntry("d", number + 1)]) for number in range(1, 3000)}
    table[3000] = SymlinkInode(symlink="end")
    received = from_wire(FileSystem(table, directory_inode=DirectoryInode([DirectoryEntry("d", 1)])))

    assert 3000 == len(received.nodes)
