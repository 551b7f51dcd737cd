"""Images as tar archives, for those who may have them."""

from __future__ import annotations

import hashlib
import io
import os
import resource
import subprocess
import tarfile
from collections.abc import AsyncIterator, Generator
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path
from typing import cast

import pytest_twisted
import zstandard

from imaginator.model.image import Image
from imaginator.model.tree import Entry, Inode, Kind, Node, encode_node
from imaginator.schedule.builder import Builder
from imaginator.store.compression import zstd_blocks
from imaginator.web.app import Web
from imaginator.web.site import BoundedSite
from imaginator.web.view import WebParts
from tests.support.fake_builder import EMPTY_ROOT, START, FakeBuilder, FakeStore
from tests.support.raw_http import Tls, served
from tests.support.real_reactor import reactor
from tests.support.visitor import Visitor, one_worker

NAME = "a/b/2026-11-22:23:38:05"
CONTENT = bytes(range(256)) * 4096


class WatchedStore(FakeStore):
    """A store that notes which images are held when an object is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[list[str]] = []

    def open_object(self, digest: bytes) -> int:
        """A file of `directory`."""
        self.seen.append(list(self.held))
        return super().open_object(digest)


def small_store(directory: Path) -> WatchedStore:
    """A store with one image, of a directory with one file."""
    store, digest = WatchedStore(), hashlib.sha512(CONTENT).digest()
    store.directory = directory
    (directory / digest.hex()).write_bytes(CONTENT)
    file = Entry(b"data", Inode(Kind.REGULAR, 0o644, size=len(CONTENT), object=digest))
    node = Node((file,))
    node_id, _ = encode_node(node)
    store.tree[node_id] = node
    root = Entry(b"", Inode(Kind.DIRECTORY, 0o755), node_id)
    store.images[NAME] = Image(name=NAME, root=root, created_at=START)
    return store


@asynccontextmanager
async def site(
    directory: Path, public: bool = False, store: FakeStore | None = None, builder: FakeBuilder | None = None
) -> AsyncIterator[BoundedSite]:
    """The pages over ``store``, by default `small_store`, or over a ``builder``."""
    workers = one_worker()
    workers.startService()
    builder = builder or FakeBuilder(store=store or small_store(directory))
    web = Web(WebParts(cast("Builder", builder), workers, str, reactor, public_downloads=public))
    yield BoundedSite(web.resource(), reactor)
    workers.stopService()


def archive(answer: bytes) -> tarfile.TarFile:
    """The tar archive in an answer of HTTP/1.0, whose body is all that follows the headers."""
    return tarfile.open(fileobj=io.BytesIO(answer.partition(b"\r\n\r\n")[2]))


@pytest_twisted.ensureDeferred
async def test_an_image_is_downloaded_with_a_certificate(tmp_path: Path) -> None:
    """Over HTTPS, a verified certificate gets the archive under a file name without colons and slashes."""
    async with site(tmp_path) as pages, served(pages, Tls()) as connect:
        client = await connect("alice")
        client.transport.write(b"GET /getImage?%s HTTP/1.0\r\n\r\n" % NAME.encode())
        await client.lost

        assert b'filename="a-b-2026-11-22-23-38-05.tar"' in client.data
        member = archive(bytes(client.data)).extractfile("./data")
        assert member is not None
        assert CONTENT == member.read()


@pytest_twisted.ensureDeferred
async def test_compressed(tmp_path: Path) -> None:
    """With ``compress=zstd`` it is the plain archive in one frame with a checksum, the same bytes each time."""
    answers = []
    async with site(tmp_path, public=True) as pages, served(pages) as connect:
        for path in (f"/getImage?{NAME}&compress=zstd", f"/getImage?{NAME}&compress=zstd", f"/getImage?{NAME}"):
            client = await connect()
            client.transport.write(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            await client.lost
            answers.append(bytes(client.data).partition(b"\r\n\r\n")[::2])
    (head, first), (_, second), (_, plain) = answers
    programs = subprocess.run(["zstd", "-dc"], input=first, capture_output=True, check=True)

    assert b"application/zstd" in head
    assert b'filename="a-b-2026-11-22-23-38-05.tar.zst"' in head
    assert first == second
    assert plain == programs.stdout
    assert len(first) < len(plain) / 10
    assert zstandard.get_frame_parameters(first).has_checksum


def test_another_compression() -> None:
    """What is not known is refused, with what is."""
    for word in ("gzip", ""):
        store = FakeStore([Image(name=NAME, root=EMPTY_ROOT, created_at=START)])
        visitor = Visitor(FakeBuilder(store=store), public_downloads=True)
        answer = visitor.get(f"/getImage?{NAME}&compress={word}", accept="text/plain")

        assert 400 == answer.status
        assert f"compress '{word}': expected zstd, or nothing for a plain tar archive\n" == answer.text


def test_compression_keeps_little() -> None:
    """However long the archive is: the blocks that were made are not kept, and they are closed with the frame."""
    closed = []

    def blocks() -> Generator[bytes]:
        try:
            while True:
                yield os.urandom(1 << 18)
        finally:
            closed.append(True)

    frames = zstd_blocks(blocks())
    next(frames)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in islice(frames, 400):
        pass
    frames.close()

    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000
    assert [True] == closed


@pytest_twisted.ensureDeferred
async def test_an_image_that_is_downloaded_is_held(tmp_path: Path) -> None:
    """It stays whole while it is read, even if it expires; afterwards nobody holds it."""
    store = small_store(tmp_path)
    async with site(tmp_path, public=True, store=store) as pages, served(pages) as connect:
        client = await connect()
        client.transport.write(b"GET /getImage?%s HTTP/1.0\r\n\r\n" % NAME.encode())
        await client.lost

    assert ([[NAME]], []) == (store.seen, store.held)


@pytest_twisted.ensureDeferred
async def test_without_a_certificate_nothing_is_downloaded(tmp_path: Path) -> None:
    """Over HTTPS without a certificate the answer is 401."""
    async with site(tmp_path) as pages, served(pages, Tls()) as connect:
        client = await connect()
        client.ask(f"/getImage?{NAME}")
        await client.until(lambda data: b"client certificate" in data)

        assert client.data.startswith(b"HTTP/1.1 401 ")


@pytest_twisted.ensureDeferred
async def test_public_downloads_need_no_certificate(tmp_path: Path) -> None:
    """With public downloads everybody gets the archive, over plain HTTP too."""
    async with site(tmp_path, public=True) as pages, served(pages) as connect:
        client = await connect()
        client.transport.write(b"GET /getImage?%s HTTP/1.0\r\n\r\n" % NAME.encode())
        await client.lost

        assert client.data.startswith(b"HTTP/1.0 200 ")
