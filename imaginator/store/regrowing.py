"""Makes the nodes of a directory again from what its layers show.

A node's id tells whether that worked: where a layer differs from the image, another id comes out. Computes only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec.structs import replace

from imaginator.model.changes import Change
from imaginator.model.tree import Entry, Inode, Kind, Node, encode_node
from imaginator.sandbox.tree import Digest
from imaginator.store.links import Group


def files_below(path: bytes, found: Iterable[Change]) -> list[tuple[bytes, int]]:
    """The regular files with content below a directory of a surveyed tree, with their sizes."""
    below = _prefix(path)
    return [
        (change.path, change.inode.size)
        for change in found
        if change.path.startswith(below) and change.inode and change.inode.kind is Kind.REGULAR and change.inode.size
    ]


def regrown(
    path: bytes, found: Sequence[Change], digests: Iterable[Digest], groups: Iterable[Group]
) -> tuple[bytes, dict[bytes, bytes]]:
    """The id of the node of a directory, and the encoded nodes of all directories from there on, by id.

    ``digests`` are those of `files_below`, ``groups`` the image's hard-link groups.
    """
    objects = {digest.path: digest.digest for digest in digests}
    links = {name: group[0] for group in groups for name in group}
    children: dict[bytes, list[tuple[bytes, Inode]]] = {}
    for change in found:
        if change.inode is not None and change.path.startswith(_prefix(path)) and change.path != b"/":
            inode = replace(change.inode, object=objects.get(change.path, b""), link=links.get(change.path, b""))
            children.setdefault(change.path.rpartition(b"/")[0] or b"/", []).append((change.path, inode))
    nodes: dict[bytes, bytes] = {}
    return _grow(path, children, nodes), nodes


def _grow(path: bytes, children: Mapping[bytes, Sequence[tuple[bytes, Inode]]], nodes: dict[bytes, bytes]) -> bytes:
    """Encode a directory's node after those below it."""
    entries = []
    for child, inode in sorted(children.get(path, ())):
        below = _grow(child, children, nodes) if inode.kind is Kind.DIRECTORY else b""
        entries.append(Entry(child.rpartition(b"/")[2], inode, below))
    node, data = encode_node(Node(tuple(entries)))
    nodes[node] = data
    return node


def _prefix(path: bytes) -> bytes:
    return path if path == b"/" else path + b"/"
