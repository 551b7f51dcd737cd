"""get-image: an archive kept or unpacked, whole or not at all."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import click
import pytest
import pytest_twisted
from twisted.web.resource import Resource
from twisted.web.server import Request

from imaginator.cli.fetching import save, unpack
from imaginator.model.image import Image
from tests.cli.conftest import Tool
from tests.support.fake_builder import EMPTY_ROOT, START, FakeStore
from tests.support.rpc_site import BytesPage

NAME = "base/web/2026-11-22:23:38:05"
TIME = 1_700_000_000_123_456_789
CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")


def member(name: str, kind: bytes = tarfile.REGTYPE, **fields: object) -> tarfile.TarInfo:
    """A member owned by 1000:2000 with a time to the nanosecond."""
    info = tarfile.TarInfo(name)
    info.type, info.uid, info.gid, info.mode = kind, 1000, 2000, 0o644
    info.pax_headers = {"mtime": f"{TIME // 10**9}.{TIME % 10**9:09}"}
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def archive(*members: tarfile.TarInfo, content: bytes = b"content") -> io.BytesIO:
    """An archive in which every regular file has the same content."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT, errors="surrogateescape") as tar:
        for info in members:
            info.size = len(content) if info.isreg() else 0
            tar.addfile(info, io.BytesIO(content) if info.isreg() else None)
    file.seek(0)
    return file


def test_everything_is_kept(tmp_path: Path) -> None:
    """Owners, modes, set-id bits, times, links, devices and capabilities are as in the image."""
    ping = member("bin/ping", mode=0o4755)
    capability = {"SCHILY.xattr.security.capability": CAPABILITY.decode("utf-8", "surrogateescape")}
    ping.pax_headers = {**ping.pax_headers, **capability}
    unpack(
        archive(
            member("bin", tarfile.DIRTYPE, mode=0o1777),
            ping,
            member("bin/pong", tarfile.LNKTYPE, linkname="bin/ping"),
            member("link", tarfile.SYMTYPE, linkname="/nowhere"),
            member("null", tarfile.CHRTYPE, devmajor=1, devminor=3),
            member("pipe", tarfile.FIFOTYPE),
            member("odd\udcff", mode=0),
        ),
        tmp_path / "root",
    )
    root = tmp_path / "root"
    found = {path.name: path.lstat() for path in root.rglob("*")}

    assert {"bin", "ping", "pong", "link", "null", "pipe", "odd\udcff"} == set(found)
    assert {(1000, 2000, TIME)} == {(info.st_uid, info.st_gid, info.st_mtime_ns) for info in found.values()}
    assert [0o1777, 0o4755, 0] == [stat.S_IMODE(found[name].st_mode) for name in ("bin", "ping", "odd\udcff")]
    assert found["ping"].st_ino == found["pong"].st_ino
    assert os.makedev(1, 3) == found["null"].st_rdev
    assert CAPABILITY == os.getxattr(root / "bin/ping", "security.capability")
    assert b"content" == (root / "bin/pong").read_bytes()


def test_empty_directory_is_filled(tmp_path: Path) -> None:
    """An empty directory may be there already; one with content may not."""
    (tmp_path / "root").mkdir()
    unpack(archive(member("file")), tmp_path / "root")
    with pytest.raises(click.ClickException, match="expected an empty directory"):
        unpack(archive(member("file")), tmp_path / "root")

    assert ["file"] == os.listdir(tmp_path / "root")


@pytest.mark.parametrize(
    "members",
    [
        [member("../escaped")],
        [member("/escaped")],
        [member("out", tarfile.SYMTYPE, linkname=".."), member("out/escaped")],
        [member("d", tarfile.DIRTYPE), member("d/../../escaped")],
        [member("escaped", tarfile.LNKTYPE, linkname="/etc/hostname")],
        [member("out", tarfile.SYMTYPE, linkname=".."), member("escaped", tarfile.LNKTYPE, linkname="out/x")],
        [member("..", tarfile.DIRTYPE)],
        [member("missing/file")],
    ],
    ids=["upwards", "absolute", "through a link", "there and back", "a link", "a link through a link", "up", "nowhere"],
)
def test_nothing_leaves_the_directory(tmp_path: Path, members: list[tarfile.TarInfo]) -> None:
    """An archive that would write elsewhere is refused, and nothing of it stays."""
    with pytest.raises(click.ClickException, match="lies outside"):
        unpack(archive(*members), tmp_path / "root")

    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize("take", [save, unpack])
def test_nothing_partial_stays(tmp_path: Path, take: object) -> None:
    """A download that breaks off leaves nothing."""

    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > 8192:
                raise ConnectionResetError
            return super().read(size)

    data = archive(member("file"), content=bytes(100_000)).getvalue()
    with pytest.raises(ConnectionResetError):
        take(Broken(data), tmp_path / "x.tar")  # type: ignore[operator]

    assert [] == list(tmp_path.iterdir())


def test_nothing_is_written_twice(tmp_path: Path) -> None:
    """A file that comes after a link of the same name would be written wherever the link leads to."""
    outside = tmp_path / "outside"
    outside.write_text("untouched")
    with pytest.raises(click.ClickException, match="two members called 'x'"):
        unpack(archive(member("x", tarfile.SYMTYPE, linkname=str(outside)), member("x")), tmp_path / "root")

    assert "untouched" == outside.read_text()
    assert ["outside"] == os.listdir(tmp_path)


UNIT = tarfile.BLOCKSIZE


@pytest.mark.parametrize("size", [0, 100, UNIT, 3 * UNIT, 3 * UNIT + 100, 4 * UNIT, 8 * UNIT, 9 * UNIT - 1])
def test_an_archive_that_ends_early_is_damaged(tmp_path: Path, size: int) -> None:
    """Wherever it was cut, between two members or in the mark at its end, nothing stays of it."""
    data = archive(member("a"), member("b")).getvalue()[: 8 * UNIT] + bytes(2 * UNIT)
    unpack(io.BytesIO(data), tmp_path / "whole")
    with pytest.raises(click.ClickException, match="archive is damaged"):
        unpack(io.BytesIO(data[:size]), tmp_path / "root")

    assert ["whole"] == os.listdir(tmp_path)


@pytest.mark.parametrize("take", [save, unpack])
def test_a_full_disk_is_said_in_a_sentence(tmp_path: Path, take: Callable[[io.BytesIO, Path], None]) -> None:
    """Nothing half-made takes the room that is left."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path], check=True)
    try:
        with pytest.raises(click.ClickException) as caught:
            take(archive(member("file"), content=bytes(100_000)), tmp_path / "x.tar")
        left = os.listdir(tmp_path)
    finally:
        subprocess.run(["umount", tmp_path], check=True)

    assert (f"{tmp_path}/x.tar: No space left on device", []) == (caught.value.message, left)


def test_a_place_that_cannot_be_filled_is_refused_first(tmp_path: Path) -> None:
    """A directory in a missing one, or a mount point, which nothing can be renamed to; the archive is not read."""
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", tmp_path], check=True)
    try:
        with pytest.raises(click.ClickException, match="is a mount point"):
            unpack(io.BytesIO(), tmp_path)
    finally:
        subprocess.run(["umount", tmp_path], check=True)
    for take in (save, unpack):
        with pytest.raises(click.ClickException, match="/missing: no such directory"):
            take(io.BytesIO(), tmp_path / "missing" / "x")


def test_an_unknown_type_is_refused(tmp_path: Path) -> None:
    """What is neither file, directory, link, device nor fifo would be lost."""
    with pytest.raises(click.ClickException, match="'x' is of an unknown type"):
        unpack(archive(member("x", b"Z")), tmp_path / "root")


class EchoPage(Resource):
    """A page that is the address that was asked for."""

    isLeaf = True  # noqa: N815

    def render_GET(self, request: Request) -> bytes:  # noqa: N802
        """The address."""
        return request.uri


@pytest_twisted.ensureDeferred
async def test_command(tool: Tool) -> None:
    """The command saves FILE.tar or FILE.tar.zst, and unpacks into DIR, by image or stream, or tells of an error."""
    assert isinstance(tool.site.builder.store, FakeStore)
    tool.site.builder.store.images[NAME] = Image(name=NAME, root=EMPTY_ROOT, created_at=START)
    data = archive(member("file")).getvalue()
    tool.site.root.putChild(b"getImage", BytesPage(data))
    saved = await tool.run("get-image", NAME, "-o", "x.tar")
    unpacked = await tool.run("get-image", "base/web", "-o", "root")
    tool.site.root.putChild(b"getImage", BytesPage(data[:600], cut=True))
    broken = await tool.run("get-image", NAME, "-o", "y.tar")

    tool.site.root.putChild(b"getImage", EchoPage())
    squeezed = await tool.run("get-image", NAME, "-o", "z.tar.zst")
    asked = (tool.home / "z.tar.zst").read_text()

    assert (f"{NAME}: z.tar.zst\n", 0) == squeezed[1:]
    assert f"/getImage?{NAME}&compress=zstd" == asked
    assert [(f"{NAME}: x.tar\n", 0), (f"{NAME}: root\n", 0)] == [said[1:] for said in (saved, unpacked)]
    assert data == (tool.home / "x.tar").read_bytes()
    assert ["file"] == os.listdir(tool.home / "root")
    assert ("", 1) == (broken.out, broken.status)
    assert broken.err.startswith("Error: ")
    assert 1 == len(broken.err.splitlines())
    assert {".ssl", "x.tar", "z.tar.zst", "root"} == set(os.listdir(tool.home))
