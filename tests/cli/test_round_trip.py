"""An image is the same image after its archive was unpacked: scanned again, its root has the same id."""

from __future__ import annotations

import io
import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import pytest_twisted
from msgspec.structs import replace

from imaginator.build.pack import Packing, pack
from imaginator.cli.fetching import unpack
from imaginator.model.tree import Entry, Inode, Kind, decode_node, walk
from imaginator.sandbox.contents import write_content
from imaginator.sandbox.sandbox import Workspace
from imaginator.store.merkle import Merged, Rules
from imaginator.store.tar import tar_blocks
from tests.support.sandboxes import opened
from tests.support.store_parts import Forest, StoreParts, draft, running_store

CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")
ACCESS = bytes.fromhex("02000000 01000600ffffffff 02000400e9030000 04000400ffffffff 10000400ffffffff 20000000ffffffff")
"""An access control list: user::rw-,user:1001:r--,group::r--,mask::r--,other::---"""
TIME = 1_700_000_000_123_456_789
LONG = b"/" + b"x" * 200


def unpack_ourselves(data: bytes, directory: Path) -> None:
    """As ``builder-tool get-image`` does."""
    unpack(io.BytesIO(data), directory)


def unpack_with_tar(data: bytes, directory: Path) -> None:
    """As an operator would; its warnings are of times before 1970 and names that are not UTF-8."""
    directory.mkdir()
    flags = [
        "--numeric-owner",
        "--xattrs",
        "--xattrs-include=*",
        "--warning=no-timestamp",
        "--warning=no-unknown-keyword",
    ]
    argv = ["tar", "-C", str(directory), *flags, "-xpf", "-"]
    subprocess.run(argv, input=data, check=True)


def tree_of_everything(parts: StoreParts) -> dict[bytes, Inode]:
    """Whatever an image can hold."""
    directory = Inode(Kind.DIRECTORY, 0o755, mtime=TIME)
    shared = replace(parts.put(b"shared"), mode=0o640, uid=1000, gid=1000, mtime=TIME, link=b"/d/a")
    symlink = Inode(Kind.SYMLINK, 0o777, mtime=TIME, target=b"nowhere", link=b"/l1")
    return {
        b"/": replace(directory, mode=0o751),
        b"/d": replace(directory, attributes=((b"system.posix_acl_default", ACCESS),)),
        b"/d/a": shared,
        b"/d/acl": replace(parts.put(b"acl"), mode=0o640, attributes=((b"system.posix_acl_access", ACCESS),)),
        b"/d/b": shared,
        b"/early": replace(parts.put(b"early"), mtime=-1_500_000_000),
        b"/early2": replace(parts.put(b"early"), mtime=-2_000_000_000),
        b"/empty": Inode(Kind.REGULAR, 0, mtime=1),
        b"/l1": symlink,
        b"/l2": symlink,
        b"/n": Inode(Kind.CHARACTER, 0o600, mtime=TIME, device=os.makedev(5, 1)),
        b"/n2": Inode(Kind.BLOCK, 0o660, gid=6, mtime=TIME, device=os.makedev(259, 70000)),
        b"/odd": replace(parts.put(b"odd"), attributes=((b"user.a=%41%3D", b"\xff\0\n"), (b"user.b", b""))),
        b"/p": Inode(Kind.FIFO, 0o620, mtime=TIME),
        b"/ping": replace(parts.put(b"ping"), mode=0o4755, attributes=((b"security.capability", CAPABILITY),)),
        b"/s": Inode(Kind.SYMLINK, 0o777, 3_000_000, 3_000_000, mtime=TIME, target=b"t" * 150),
        b"/sparse": sparse(parts, [b"a" * 5000, b"", b"b" * 5000, b""]),
        b"/sparse2": sparse(parts, [b"", b"tail"]),
        b"/t": replace(directory, mode=0o1777),
        b"/t/\xff\xfe": replace(parts.put(b"name"), uid=3_000_000, gid=2**32 - 2),
        LONG: replace(directory, mode=0o2755),
        LONG + b"/sparse\xff": sparse(parts, [b"c" * 70_000, b"", b"d" * 70_000]),
        "/ü".encode(): replace(parts.put(b"large" * 100_000), mtime=TIME),
    }


def sparse(parts: StoreParts, contents: list[bytes]) -> Inode:
    """A file of contents, each filled up with zeros to 100 kB but for the last, as the store would keep it."""
    data = b"".join(content.ljust(102_400, b"\0") for content in contents[:-1]) + contents[-1]
    inode = parts.put(data)
    path = parts.objects.path(inode.object)
    path.unlink()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    write_content(descriptor, data)
    os.ftruncate(descriptor, len(data))
    os.close(descriptor)
    assert path.stat().st_blocks * 512 < len(data)
    return inode


async def scanned(parts: StoreParts, directory: Path) -> Merged:
    """What a bootstrap packs of the tree in ``directory``'s upper."""
    async with opened(Workspace(directory)) as sandbox:
        packing = Packing(parts.workers, Forest(), directory / "objects")
        return (await pack(packing, sandbox.tree, None, Rules())).merged


def described(root: Entry, nodes: Mapping[bytes, bytes]) -> dict[bytes, Inode]:
    """Every path of a tree."""
    return {path: entry.inode for path, entry in walk(root, lambda node: decode_node(nodes[node]))}


def holes(root: Path, tree: Mapping[bytes, Inode]) -> dict[bytes, bool]:
    """Which files of an unpacked tree take less room than they have bytes."""
    found = {path: os.lstat(os.fsencode(root) + path) for path, inode in tree.items() if inode.size > 65_536}
    return {path: status.st_blocks * 512 < status.st_size for path, status in found.items()}


@pytest.mark.parametrize("unpacked", [unpack_ourselves, unpack_with_tar])
@pytest_twisted.ensureDeferred
async def test_an_archive_is_the_image(tmp_path: Path, unpacked: Callable[[bytes, Path], None]) -> None:
    """Nothing that an image holds is lost on the way through a tar archive, by our own tool or by GNU tar."""
    async with running_store(tmp_path / "state") as parts:
        tree, forest = tree_of_everything(parts), Forest()
        image = await parts.store.add(draft("s", forest.plant(tree)), forest.nodes, [])
        data = await parts.workers.run(lambda: b"".join(tar_blocks(image, parts.store)))
        (tmp_path / "again").mkdir()
        root = tmp_path / "again" / "upper"
        unpacked(data, root)
        found = await scanned(parts, tmp_path / "again")

        assert {b"/sparse", b"/sparse2", LONG + b"/sparse\xff"} == {
            path for path, on in holes(root, tree).items() if on
        }
        assert described(image.root, forest.nodes) == described(found.root, found.nodes)
        assert image.root == found.root
