"""An image as Dominator's programs have it becomes one of ours, once its objects are here. Computes only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from msgspec.structs import replace

from imaginator.model.errors import InvalidRequest
from imaginator.model.image import Figures, Image
from imaginator.model.tree import Entry, Inode, Kind, Node, decode_node, encode_node, walk
from imaginator.srpc import filesystem as wire
from imaginator.srpc.images import image_from_wire
from imaginator.srpc.trees import BadTree, from_wire

EXPECTED = (b"/etc", b"/etc/passwd", b"/usr", b"/usr/bin")
"""What is in every image that has a filter, as the original's image server demands: such an image is a machine's."""


class Arrived(NamedTuple):
    """An image, its encoded nodes by their ids, and the sizes of the objects in its tree by their digests."""

    image: Image
    nodes: Mapping[bytes, bytes]
    objects: Mapping[bytes, int]

    @property
    def beside(self) -> frozenset[bytes]:
        """The objects that are texts beside the image, whose sizes nobody has told."""
        annotations = self.image.annotations
        texts = (annotations.release_notes, annotations.build_log)
        return frozenset(text.object for text in texts if text is not None and text.object)


def with_texts(found: Arrived, sizes: Mapping[bytes, int]) -> Arrived:
    """The same with a node that holds the texts beside the image, of these sizes, so that they stay as long as it."""
    if not sizes:
        return found
    texts = [
        Entry(digest.hex().encode(), Inode(Kind.REGULAR, 0o444, size=size, object=digest if size else b""))
        for digest, size in sizes.items()
    ]
    tree = replace(found.image.root, name=b"tree")
    node, data = encode_node(Node(tuple(sorted([*texts, tree], key=lambda entry: entry.name))))
    image = replace(found.image, annotations=replace(found.image.annotations, node=node))
    return found._replace(image=image, nodes={**found.nodes, node: data})


def arrived(name: str, received: wire.Image) -> Arrived:
    """The image called ``name``; raises `InvalidRequest` for one that has no tree, or that no image of ours can be."""
    if received.file_system is None:
        raise InvalidRequest(f"{name}: an image without a tree")
    try:
        tree = from_wire(received.file_system)
    except BadTree as error:
        raise InvalidRequest(f"{name}: {error}") from None
    known = {identity: decode_node(data) for identity, data in tree.nodes.items()}
    inodes = [(path, entry.inode) for path, entry in walk(tree.root, known.__getitem__)]
    _check(name, received, {path for path, _ in inodes})
    image = replace(
        image_from_wire(name, received),
        root=tree.root,
        links=tree.links,
        computed=tuple(sorted(path for path, inode in inodes if inode.kind is Kind.COMPUTED)),
        figures=_figures(inodes),
    )
    return Arrived(image, tree.nodes, _objects(name, inodes))


def _objects(name: str, inodes: Iterable[tuple[bytes, Inode]]) -> dict[bytes, int]:
    """The sizes of objects, each of which has one."""
    sizes: dict[bytes, int] = {}
    for path, inode in inodes:
        if inode.object and sizes.setdefault(inode.object, inode.size) != inode.size:
            problem = f"{inode.size} bytes, elsewhere the same content has {sizes[inode.object]}"
            raise InvalidRequest(f"{name}: {path.decode(errors='replace')}: {problem}")
    return sizes


def check_sizes(found: Arrived, differing: Iterable[bytes]) -> None:
    """Raise `InvalidRequest` where an image says of objects that are here that they have other sizes."""
    wrong = min(differing, default=None)
    if wrong is not None:
        raise InvalidRequest(f"{found.image.name}: object {wrong.hex()} has not {found.objects[wrong]} bytes")


def _check(name: str, received: wire.Image, paths: set[bytes]) -> None:
    missing = [path.decode() for path in EXPECTED if path not in paths]
    if received.filter is not None and missing:
        raise InvalidRequest(f"{name}: {missing[0]} is missing: expected in an image that has a filter")


def _figures(inodes: Iterable[tuple[bytes, Inode]]) -> Figures:
    """What packing would count: a file of several names once."""
    files = directories = size = 0
    for path, inode in inodes:
        if inode.kind is Kind.DIRECTORY:
            directories += 1
        elif inode.link in (b"", path):
            files += 1
            size += inode.size
    return Figures(files=files, directories=directories, bytes=size)
