"""Images as tar archives."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest_twisted
from msgspec.structs import replace

from imaginator.model.tree import Inode, Kind
from imaginator.store.tar import tar_blocks
from tests.support.store_parts import Forest, draft, running_store

CAPABILITY = b"\x01\x00\x00\x02\xff\x00=\n"


@pytest_twisted.ensureDeferred
async def test_everything_of_an_image_is_in_its_archive(tmp_path: Path) -> None:
    """Links, devices, nanoseconds, capabilities and names that are not UTF-8 survive; the bytes are always the same."""
    async with running_store(tmp_path) as parts:
        file = replace(parts.put(b"text"), mtime=1_500_000_001_000_000_002, link=b"/b")
        forest = Forest()
        tree = {
            b"/": Inode(Kind.DIRECTORY, 0o755),
            b"/b": file,
            b"/c": file,
            b"/n": Inode(Kind.CHARACTER, 0o600, device=os.makedev(5, 1)),
            b"/p": Inode(Kind.REGULAR, 0o4755, attributes=((b"security.capability", CAPABILITY),)),
            b"/\xff": Inode(Kind.SYMLINK, 0o777, target=b"\xfe"),
        }
        image = await parts.store.add(draft("s", forest.plant(tree)), forest.nodes, [])
        data = await parts.workers.run(lambda: b"".join(tar_blocks(image, parts.store)))
        again = await parts.workers.run(lambda: b"".join(tar_blocks(image, parts.store)))

    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        found = {member.name: member for member in archive}
    assert data == again
    assert {".", "./b", "./c", "./n", "./p", "./\udcff"} == found.keys()
    assert "1500000001.000000002" == found["./b"].pax_headers["mtime"]
    assert (tarfile.LNKTYPE, "./b") == (found["./c"].type, found["./c"].linkname)
    assert (5, 1) == (found["./n"].devmajor, found["./n"].devminor)
    value = found["./p"].pax_headers["SCHILY.xattr.security.capability"]
    assert CAPABILITY == value.encode("utf-8", "surrogateescape")
    assert "\udcfe" == found["./\udcff"].linkname
