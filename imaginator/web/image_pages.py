"""The pages of images: their list, what is said of one, its files, and what two of them differ in."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import NamedTuple

from twisted.web.server import Request

from imaginator.model.errors import InvalidRequest, NotFound
from imaginator.model.image import Image
from imaginator.model.names import check_image_name, check_stream_name, stream_of
from imaginator.model.tree import Entry, Inode, Kind, NodeReader, join
from imaginator.store.compression import zstd_blocks
from imaginator.store.contrast import Directory, FileChange, contrast
from imaginator.store.interface import ImageStore
from imaginator.store.tar import tar_blocks
from imaginator.web.answers import require_certificate
from imaginator.web.overview import newest_first
from imaginator.web.queries import parse_form, parse_query
from imaginator.web.streaming import BLOCK, ThreadBlocks, send
from imaginator.web.view import View

MOST_IMAGES = 1000
"""How many images one page lists."""

OTHERS = 50
"""How many images of the same stream an image can be compared with by choosing from a list."""

MOST_FILES = 200
"""How many files that differ are listed of one directory."""

MOST_LISTED = 5000
"""After how many files that differ only directories are listed."""


class Line(NamedTuple):
    """A line of a directory's list: the path, and what is there."""

    path: bytes
    inode: Inode

    @property
    def name(self) -> bytes:
        """The last part of the path."""
        return self.path.rpartition(b"/")[2]


class Step(NamedTuple):
    """A directory on the way to a path: its name and its own path."""

    name: bytes
    path: bytes


class Shown(NamedTuple):
    """A directory of a difference, with those of its files that are listed, and how many more there are."""

    directory: Directory
    files: Sequence[FileChange]
    left_out: int


class ImagePages(View):
    """The pages of images."""

    async def all(self, request: Request) -> bytes:
        """The images, latest first; those of a stream, or of all below a name, where one is given."""
        name = parse_query(request.uri).name
        images = newest_first(await self._store.list(check_stream_name(name) if name else ""))
        return self.page(
            request, "images.html", name=name, images=images[:MOST_IMAGES], left_out=max(len(images) - MOST_IMAGES, 0)
        )

    async def one(self, request: Request) -> bytes | None:
        """All that is said about one image; with a path, the files there."""
        query = parse_query(request.uri)
        image = await self._store.get(check_image_name(query.name))
        if "path" in query.options:
            await self._files(request, image, os.fsencode(query.options["path"]))
            return None
        stream = stream_of(image.name)
        images = newest_first(i for i in await self._store.list(stream) if stream_of(i.name) == stream)
        others = [other.name for other in images if other.name != image.name][:OTHERS]
        before = next((other.name for other in images if other.created_at < image.created_at), None)
        return self.page(request, "image.html", image=image, others=others, before=before)

    async def _files(self, request: Request, image: Image, path: bytes) -> None:
        lines = await self._parts.workers.run(listed, image.root, path, self._store.nodes())
        await self.long_page(request, "files.html", image=image, path=path, steps=steps(path), lines=lines)

    async def difference(self, request: Request) -> None:
        """What two images differ in."""
        form = parse_form(request.uri)
        before, after = [await self._store.get(check_image_name(form.get(key, ""))) for key in ("before", "after")]
        with self._store.hold() as hold:
            for image in (before, after):
                await hold.image(image)
            found = await self._parts.workers.run(contrast, before, after, self._store.nodes())
        await self.long_page(
            request,
            "difference.html",
            before=before,
            after=after,
            packages=found.packages,
            directories=shown(found.directories),
            sum=found.sum,
        )

    async def download(self, request: Request) -> None:
        """An image as a tar archive, compressed where that is asked for."""
        self._check_download(request)
        query = parse_query(request.uri)
        kind, ending, packed = archive_form(query.options.get("compress"))
        image = await self._store.get(check_image_name(query.name))
        file_name = image.name.replace("/", "-").replace(":", "-")
        await self._send(request, image, packed(tar_blocks(image, self._store)), kind, f"{file_name}.{ending}")

    async def content(self, request: Request) -> None:
        """The content of a regular file of an image."""
        self._check_download(request)
        query = parse_query(request.uri)
        image = await self._store.get(check_image_name(query.name))
        path = os.fsencode(query.options.get("path", ""))
        entry = await self._parts.workers.run(find, image.root, path, self._store.nodes())
        if entry.inode.kind is not Kind.REGULAR:
            raise InvalidRequest(f"{os.fsdecode(path)!r} is not a regular file")
        await self._send(request, image, object_blocks(entry.inode, self._store), "application/octet-stream", "")

    def _check_download(self, request: Request) -> None:
        if not self._parts.public_downloads:
            require_certificate(request, "downloads")

    async def _send(self, request: Request, image: Image, parts: Generator[bytes], kind: str, file_name: str) -> None:
        disposition = f'attachment; filename="{file_name}"' if file_name else "attachment"
        headers = {"Content-Type": kind, "Content-Disposition": disposition}
        with self._store.hold() as hold:
            await hold.image(image)
            source = ThreadBlocks(parts, self._parts.workers)
            try:
                await send(request, source, headers)
            finally:
                # Nobody waits for it: the client may be gone, and with it whoever asked.
                source.close()


class ArchiveForm(NamedTuple):
    """How an archive is sent: its media type, the end of its file's name, and what is made of its blocks."""

    kind: str
    ending: str
    packed: Callable[[Generator[bytes]], Generator[bytes]]


def archive_form(compress: str | None) -> ArchiveForm:
    """The form that an address asks for; raises `InvalidRequest` for one that there is not."""
    if compress is None:
        return ArchiveForm("application/x-tar", "tar", lambda blocks: blocks)
    if compress != "zstd":
        raise InvalidRequest(f"compress {compress!r}: expected zstd, or nothing for a plain tar archive")
    return ArchiveForm("application/zstd", "tar.zst", zstd_blocks)


def shown(directories: Iterable[Directory]) -> Iterator[Shown]:
    """The directories of a difference, with as many files as a page can bear."""
    room = MOST_LISTED
    for directory in directories:
        files = directory.files[: min(room, MOST_FILES)]
        room -= len(files)
        yield Shown(directory, files, len(directory.files) - len(files))


def steps(path: bytes) -> list[Step]:
    """The way to a path, from below the root to itself."""
    parts = [part for part in path.split(b"/") if part]
    return [Step(part, b"/" + b"/".join(parts[: place + 1])) for place, part in enumerate(parts)]


def find(root: Entry, path: bytes, read: NodeReader) -> Entry:
    """What is at a path (``/a/b``) of a tree, no link followed; raises `NotFound`. For a worker thread."""
    found: Entry | None = root
    for name in (part for part in path.split(b"/") if part):
        found = read(found.node).get(name) if found and found.node else None
    if found is None or not path.startswith(b"/"):
        raise NotFound(f"no such path in the image: {path.decode(errors='backslashreplace')}")
    return found


def listed(root: Entry, path: bytes, read: NodeReader) -> list[Line]:
    """The files of a directory, or the file itself; raises `NotFound`. For a worker thread."""
    entry = find(root, path, read)
    here = path.rstrip(b"/") or b"/"
    if entry.inode.kind is not Kind.DIRECTORY:
        return [Line(here, entry.inode)]
    children = read(entry.node).entries if entry.node else ()
    return [Line(join(here, child.name), child.inode) for child in children]


def object_blocks(inode: Inode, store: ImageStore) -> Generator[bytes]:
    """The content of a regular file in blocks, for a worker thread."""
    if inode.object:
        with os.fdopen(store.open_object(inode.object), "rb", buffering=0) as file:
            while block := file.read(BLOCK):
                yield block
