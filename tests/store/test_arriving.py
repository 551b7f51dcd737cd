"""Images as Dominator's programs have them, made ours."""

from __future__ import annotations

import hashlib

import pytest

from imaginator.model.errors import InvalidRequest
from imaginator.model.image import Annotation, Figures
from imaginator.model.tree import Node, decode_node
from imaginator.srpc.filesystem import (
    Annotation as WireAnnotation,
)
from imaginator.srpc.filesystem import (
    ComputedRegularInode,
    DirectoryEntry,
    DirectoryInode,
    FileSystem,
    Filter,
    Image,
    RegularInode,
)
from imaginator.store.arriving import arrived, with_texts
from imaginator.store.marking import reachable

LOG, HELLO = (hashlib.sha512(text).digest() for text in (b"log", b"hello"))
FILE = RegularInode(mode=0o100644, size=5, hash=HELLO)
TREE = FileSystem(
    inode_table={
        1: DirectoryInode(
            [DirectoryEntry("one", 2), DirectoryEntry("two", 2), DirectoryEntry("three", 3)], mode=0o40755
        ),
        2: FILE,
        3: ComputedRegularInode(mode=0o100600, source="host:6972"),
    },
    directory_inode=DirectoryInode([DirectoryEntry("etc", 1)], mode=0o40755),
)
IMAGE = Image(file_system=TREE, build_log=WireAnnotation(object=LOG), release_notes=WireAnnotation(url="http://notes"))


def test_what_is_counted() -> None:
    """As packing would have: a file of two names once, directories with the root, computed files by their paths."""
    found = arrived("a/b", IMAGE)

    assert Figures(files=2, directories=2, bytes=5) == found.image.figures
    assert ((b"/etc/one", b"/etc/two"),) == found.image.links
    assert (b"/etc/three",) == found.image.computed
    assert ({HELLO: 5}, [LOG]) == ({**found.objects}, [*found.beside])


def test_texts_stay_with_it() -> None:
    """What is reached from the image has its log, and the tree is as it was."""
    plain = arrived("a/b", IMAGE)
    found = with_texts(plain, {LOG: 3})

    def read(node: bytes) -> Node:
        return decode_node(found.nodes[node])

    nodes, objects = reachable([found.image.reach], read)
    assert {HELLO, LOG} <= objects
    assert found.nodes.keys() == nodes
    assert plain.image.root == found.image.root
    assert Annotation(LOG) == found.image.annotations.build_log
    assert Annotation(url="http://notes") == found.image.annotations.release_notes
    assert plain.image.root.node == plain.image.reach == with_texts(plain, {}).image.reach


def test_a_tree_that_is_none() -> None:
    """One sentence, with the image's name."""
    with pytest.raises(InvalidRequest, match="^a/b: /etc/passwd is missing: expected in an image that has a filter$"):
        arrived("a/b", Image(file_system=TREE, filter=Filter([])))
    entries = [DirectoryEntry("one", 1), DirectoryEntry("two", 2)]
    other = RegularInode(mode=0o100644, size=6, hash=HELLO)
    unlike = FileSystem(inode_table={1: FILE, 2: other}, directory_inode=DirectoryInode(entries))
    with pytest.raises(InvalidRequest, match="^a/b: /two: 6 bytes, elsewhere the same content has 5$"):
        arrived("a/b", Image(file_system=unlike))
    broken = FileSystem(directory_inode=DirectoryInode([DirectoryEntry("..", 1)]))
    with pytest.raises(InvalidRequest, match=r"^a/b: /: an entry called '\.\.'$"):
        arrived("a/b", Image(file_system=broken))
