"""The files of an image, and what two images differ in, whatever their names hold."""

from __future__ import annotations

import hashlib
import html
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import pytest
import pytest_twisted
from msgspec.structs import replace

from imaginator.model.image import Image, Package
from imaginator.model.tree import Inode, Kind
from imaginator.web.image_pages import MOST_FILES, MOST_LISTED
from tests.support.fake_builder import START, FakeStore
from tests.support.raw_http import RawClient, Tls, served
from tests.support.store_parts import Forest
from tests.web.test_download import site

OLD, NEW = "a/b/2026-11-22:23:38:05", "a/b/2026-11-22:23:39:05"
CONTENT = b"root:x:0:0\n"
HOSTILE = b"<script>\xff\n\x1b[31m&"
DIRECTORY = Inode(Kind.DIRECTORY, 0o755)
FILE = Inode(Kind.REGULAR, 0o4755, 1, 2, size=len(CONTENT), object=hashlib.sha512(CONTENT).digest())
TREE = {
    b"/": DIRECTORY,
    b"/empty": DIRECTORY,
    b"/etc": DIRECTORY,
    b"/etc/passwd": FILE,
    b"/etc/" + HOSTILE: FILE,
    b"/etc/link": Inode(Kind.SYMLINK, 0o777, target=b"passwd"),
}


class Store(FakeStore):
    """A store of two images; `put` adds more."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.forest = Forest()
        self.tree = self.forest  # type: ignore[assignment]
        self.directory = directory
        (directory / FILE.object.hex()).write_bytes(CONTENT)
        after = {**TREE, b"/etc/passwd": replace(FILE, size=999, object=b"x" * 64), b"/etc/new": FILE}
        del after[b"/etc/link"]
        self.put(OLD, TREE, Package("bash", "5.1"))
        self.put(NEW, after, Package("bash", "5.2"), Package("tree", "2"))

    def put(self, name: str, tree: dict[bytes, Inode], *packages: Package) -> None:
        """Add an image."""
        later = timedelta(minutes=len(self.images))
        root = self.forest.plant(tree)
        self.images[name] = Image(name=name, root=root, created_at=START + later, packages=packages)

    def nodes(self) -> Forest:
        """The nodes of all trees."""
        return self.forest


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two images of a stream."""
    return Store(tmp_path)


@pytest_twisted.async_yield_fixture
async def client(store: Store, tmp_path: Path) -> AsyncIterator[RawClient]:
    """Somebody with a certificate."""
    async with site(tmp_path, store=store) as pages, served(pages, Tls()) as connect:
        yield await connect("alice")


async def get(client: RawClient, path: str) -> tuple[int, str]:
    """The status and the text of a page."""
    client.ask(path, "Accept: text/html", "Connection: close", method="GET")
    await client.lost
    head, _, body = bytes(client.data).partition(b"\r\n\r\n")
    return int(head.split()[1]), body.decode(errors="replace")


@pytest_twisted.ensureDeferred
async def test_a_directory(client: RawClient) -> None:
    """Its files with all that is known of them, and links to go on, harmless whatever they are called."""
    status, page = await get(client, f"/showImage?{OLD}&path=/etc")

    assert 200 == status
    assert "<script>" not in page.replace('<script src="/static/live.js"', "")
    for shown in ("-rwsr-xr-x", "1:2", "11 B", "→ passwd", r"&lt;script&gt;\xff\n\x1b[31m&amp;"):
        assert shown in page
    assert f'href="/getFile?{OLD}&amp;path=/etc/{html.escape(quote(HOSTILE))}"' in page


@pytest.mark.parametrize(
    ("path", "status", "shown"),
    [
        ("/", 200, "etc/"),
        ("/empty", 200, "The directory is empty."),
        ("/etc/passwd", 200, "-rwsr-xr-x"),
        ("/etc/" + quote(HOSTILE), 200, "1:2"),
        ("/nowhere", 404, "no such path in the image: /nowhere"),
        ("/etc/passwd/x", 404, "no such path"),
        ("etc", 404, "no such path"),
        ("", 404, "no such path"),
        ("/../etc", 404, "no such path"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_paths(client: RawClient, path: str, status: int, shown: str) -> None:
    """Directories, files, and what is not there."""
    found, page = await get(client, f"/showImage?{OLD}&path={path}")

    assert (status, True) == (found, shown in page)


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [("/etc/passwd", 200, CONTENT.decode()), ("/etc", 400, "not a regular file"), ("/etc/link", 400, "not a regular")],
)
@pytest_twisted.ensureDeferred
async def test_content(client: RawClient, path: str, status: int, body: str) -> None:
    """Of regular files, as a download that no browser opens."""
    found, page = await get(client, f"/getFile?{OLD}&path={path}")

    assert (status, True) == (found, body in page)
    assert status != 200 or b"content-disposition: attachment" in client.data.lower()


@pytest_twisted.ensureDeferred
async def test_content_needs_a_certificate(store: Store, tmp_path: Path) -> None:
    """Nobody in particular gets none."""
    async with site(tmp_path, store=store) as pages, served(pages) as connect:
        status, page = await get(await connect(), f"/getFile?{OLD}&path=/etc/passwd")

    assert (403, False) == (status, CONTENT.decode() in page)


@pytest_twisted.ensureDeferred
async def test_difference(client: RawClient) -> None:
    """Packages and files, with sizes."""
    status, page = await get(client, f"/showDifference?before={quote(OLD)}&after={quote(NEW)}")

    assert 200 == status
    text = " ".join(page.split())
    assert "5.1</td>" in text
    assert 'tree <span class="badge succeeded">added</span>' in text
    assert "<li><b>1</b> added</li> <li><b>1</b> removed</li> <li><b>1</b> changed</li> <li><b>+999 B</b>" in text
    assert 'passwd</td> <td data-label="Difference"><span class="change changed">changed</span>' in text
    assert "content</span>" in text


@pytest_twisted.ensureDeferred
async def test_no_difference(client: RawClient) -> None:
    """An image and itself."""
    _, page = await get(client, f"/showDifference?before={quote(OLD)}&after={quote(OLD)}")

    assert "All files are the same." in page


@pytest_twisted.ensureDeferred
async def test_large_difference(store: Store, client: RawClient) -> None:
    """Of a directory only so many files are listed, and in all; the sums are of all."""
    many = {b"/%d/%d" % (place, number): FILE for place in range(60) for number in range(MOST_FILES + 50)}
    directories = {b"/%d" % place: DIRECTORY for place in range(60)}
    store.put("a/b/2026-11-22:23:40:05", {**TREE, **directories, **many})
    _, page = await get(client, f"/showDifference?before={quote(OLD)}&after=a/b/2026-11-22:23:40:05")

    assert f"<b>{len(many) + 60:,}</b> added" in page
    assert 0 < page.count("change added") <= MOST_LISTED
    assert ">50 more<" in page
    assert f">{MOST_FILES + 50} more<" in page


@pytest.mark.parametrize("query", ["", f"before={OLD}", "before=x&after=y", "&".join(f"f{n}=1" for n in range(200))])
@pytest_twisted.ensureDeferred
async def test_what_is_no_comparison(client: RawClient, query: str) -> None:
    """A clear error."""
    status, page = await get(client, f"/showDifference?{query}")

    assert status in (400, 404)
    assert "Traceback" not in page


@pytest_twisted.ensureDeferred
async def test_ways_there(client: RawClient) -> None:
    """An image's page leads to its files, to the difference from the image before, and to any other."""
    _, page = await get(client, f"/showImage?{NEW}")

    assert f'href="/showImage?{NEW}&amp;path=/"' in page
    assert f"before={quote(OLD, safe='/')}" in page
    assert f'<option value="{OLD}">' in page
