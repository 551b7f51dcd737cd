"""What may be wrong with a state directory that nobody uses: read once more from the ground up.

Every image of the catalogue has all its nodes and objects, every file under an object's name is whole, whether an
image refers to it or not (the next build would trust it), and every image's layers, merged, equal the image.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from imaginator.model.errors import StoreCorrupt
from imaginator.model.image import Image
from imaginator.model.tree import Inode, Kind, Node, encode_node
from imaginator.sandbox.process import finish
from imaginator.sandbox.sandbox import Profile, Workspace
from imaginator.store.images import read_node
from imaginator.store.marking import reachable
from tests.build.test_pack import Packer, seen
from tests.support.sandboxes import ENVIRONMENT, opened
from tests.support.store_parts import StoreParts, running_store


async def faults(state: Path) -> list[str]:
    """A sentence for each fault; the layers are looked at when there is no other."""
    found = [*object_faults(state / "objects"), *catalogue_faults(state)]
    if found or not (state / "catalogue.sqlite").exists():
        return found
    async with running_store(state) as parts:
        images = [await parts.store.get(summary.name) for summary in await parts.store.list()]
        return [fault for image in images for fault in await _layer_faults(parts, image)]


async def image_names(state: Path) -> list[str]:
    """The names of its images, in their order."""
    async with running_store(state) as parts:
        return [summary.name for summary in await parts.store.list()]


def object_faults(objects: Path) -> list[str]:
    """The files under objects' names that are not what their names say."""
    files = {file: file.parent.name + file.name for file in objects.glob("??/*")}
    return [f"{file}: not the whole object" for file, name in sorted(files.items()) if _digest(file) != name]


def _digest(file: Path) -> str:
    return hashlib.sha512(file.read_bytes()).hexdigest()


def catalogue_faults(state: Path) -> list[str]:
    """What is wrong with the catalogue (one that is not there has no images) and what it refers to."""
    path = state / "catalogue.sqlite"
    return list(_catalogue_faults(path, state / "objects")) if path.exists() else []


def _catalogue_faults(path: Path, objects: Path) -> Iterator[str]:
    connection = sqlite3.connect(path)
    try:
        checks = [*connection.execute("PRAGMA integrity_check"), *connection.execute("PRAGMA foreign_key_check")]
        yield from (f"catalogue: {check}" for check in checks if check != ("ok",))
        for name, root in connection.execute("SELECT name, root FROM images WHERE gone_at IS NULL").fetchall():
            yield from (f"{name}: {fault}" for fault in _tree_faults(connection, root, objects))
    except sqlite3.DatabaseError as error:
        yield f"catalogue: {error}"
    finally:
        connection.close()


def _tree_faults(connection: sqlite3.Connection, root: bytes, objects: Path) -> Iterator[str]:
    try:
        _, digests = reachable([root], partial(_checked_node, connection))
    except StoreCorrupt as error:
        yield str(error)
        return
    for name in (digest.hex() for digest in digests if digest):
        if not (objects / name[:2] / name[2:]).exists():
            yield f"object {name} is missing"


def _checked_node(connection: sqlite3.Connection, node: bytes) -> Node:
    found = read_node(connection, node)
    if encode_node(found)[0] != node:
        raise StoreCorrupt(f"node {node.hex()} is not what its name says")
    return found


async def _layer_faults(parts: StoreParts, image: Image) -> list[str]:
    """Where the layers differ from the image; those that are missing are made of objects."""
    packer = Packer(parts)
    described = await packer.described(image)
    shown, said = seen(await packer.mounted(image)), seen(described)
    differing = {path for path in shown.keys() | said.keys() if shown.get(path) != said.get(path)}
    if not differing:
        mounted, digests = await _contents(parts, packer, image), _digests(described)
        differing = {path for path in mounted.keys() | digests.keys() if mounted.get(path) != digests.get(path)}
    return [f"{image.name}: the layers differ at {path.decode(errors='replace')}" for path in sorted(differing)]


def _digests(tree: dict[bytes, Inode]) -> dict[bytes, str]:
    nothing = hashlib.sha512()
    files = {path: inode for path, inode in tree.items() if inode.kind in (Kind.REGULAR, Kind.COMPUTED)}
    return {path: inode.object.hex() or nothing.hexdigest() for path, inode in files.items()}


async def _contents(parts: StoreParts, packer: Packer, image: Image) -> dict[bytes, str]:
    """The SHA-512 of every file that a build over the image would see."""
    _, lowers = await packer.layers.lowers(image)
    workspace = Workspace(parts.directory / f"contents-{image.root.node.hex()[:12]}", lowers)
    said: list[bytes] = []
    async with opened(workspace, Profile.BOOTSTRAP) as sandbox:
        command = ["find", ".", "-type", "f", "-exec", "sha512sum", "{}", "+"]
        child = sandbox.run(command, ENVIRONMENT, network=False, output=said.append)
        assert (await finish(child, timeout=60)).ok, said
    lines = [line.split(b"  .", 1) for line in b"".join(said).splitlines()]
    return {path: digest.decode() for digest, path in lines}
