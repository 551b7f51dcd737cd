"""An image as Dominator's programs have it becomes one of ours, once its objects are here. Computes only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from msgspec.structs import replace

from imaginator.model.errors import InvalidRequest
from imaginator.model.image import Figures, Image
from imaginator.model.tree import Inode, Kind, decode_node, walk
from imaginator.srpc import filesystem as wire
from imaginator.srpc.images import image_from_wire
from imaginator.srpc.trees import BadTree, from_wire

EXPECTED = (b"/etc", b"/etc/passwd", b"/usr", b"/usr/bin")
"""What is in every image that has a filter, as the original's image server demands: such an image is a machine's."""


class Arrived(NamedTuple):
    """An image, its encoded nodes by their ids, and the sizes of its objects by their digests."""

    image: Image
    nodes: Mapping[bytes, bytes]
    objects: Mapping[bytes, int]


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
    return Arrived(image, tree.nodes, {inode.object: inode.size for _, inode in inodes if inode.object})


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
