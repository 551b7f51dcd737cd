"""Fetching from files and from a real HTTP server."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site
from twisted.web.static import Data, File
from twisted.web.util import Redirect

from imaginator.build import fetch
from imaginator.build.fetch import Fetched, Fetcher, Validators
from imaginator.model.errors import ConfigurationError


class Tagged(Resource):
    """A file with an entity tag."""

    isLeaf = True  # noqa: N815

    def render_GET(self, request: Request) -> bytes:  # noqa: N802
        """The file, or 304 for who knows it."""
        return b"" if request.setETag(b'"v1"') else b"content"


class Silent(Resource):
    """Takes requests and never answers."""

    isLeaf = True  # noqa: N815

    def render_GET(self, _request: Request) -> int:  # noqa: N802
        """Wait."""
        return NOT_DONE_YET


@pytest.fixture
def fetcher() -> Fetcher:
    """A fetcher with its own HTTP client."""
    from twisted.internet import reactor

    return Fetcher(reactor)


@asynccontextmanager
async def server(**children: Resource) -> AsyncIterator[str]:
    """A server with these resources; its URL, ending in a slash."""
    from twisted.internet import reactor

    root = Resource()
    for name, child in children.items():
        root.putChild(name.encode(), child)
    site = Site(root)
    port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(site)
    try:
        yield f"http://127.0.0.1:{port.getHost().port}/"
    finally:
        await port.stopListening()


@pytest.mark.parametrize("prefix", ["", "file://", "file://localhost"])
@pytest_twisted.ensureDeferred
async def test_local_file(fetcher: Fetcher, tmp_path: Path, prefix: str) -> None:
    """A path or a file URL gives the content, and nothing where the file is still the same."""
    path = tmp_path / "conf"
    path.write_bytes(b"one")

    first = await fetcher.fetch(f"{prefix}{path}")
    again = await fetcher.fetch(f"{prefix}{path}", known=first.validators)
    path.write_bytes(b"three")
    changed = await fetcher.fetch(f"{prefix}{path}", known=first.validators)

    assert [b"one", None, b"three"] == [first.data, again.data, changed.data]


@pytest.mark.parametrize(
    ("name", "problem"), [("absent", "No such file"), (".", "not a regular file"), ("fifo", "not a regular file")]
)
@pytest_twisted.ensureDeferred
async def test_unreadable_file(fetcher: Fetcher, tmp_path: Path, name: str, problem: str) -> None:
    """What is no regular file is an error that names it; a fifo does not make the daemon wait."""
    os.mkfifo(tmp_path / "fifo")

    with pytest.raises(ConfigurationError, match=problem):
        await fetcher.fetch(str(tmp_path / name))


@pytest.mark.parametrize("url", ["conf.json", "ftp://host/x", "file://elsewhere/x"])
@pytest_twisted.ensureDeferred
async def test_strange_url(fetcher: Fetcher, url: str) -> None:
    """Other kinds of URL are refused."""
    with pytest.raises(ConfigurationError, match="no URL that can be fetched"):
        await fetcher.fetch(url)


@pytest_twisted.ensureDeferred
async def test_unchanged_file_is_not_sent_again(fetcher: Fetcher) -> None:
    """The server's entity tag is sent back the next time."""
    async with server(conf=Tagged()) as url:
        first = await fetcher.fetch(url + "conf")
        again = await fetcher.fetch(url + "conf", known=first.validators)

    tag = Validators(etag='"v1"')
    assert (Fetched(b"content", tag), Fetched(None, tag)) == (first, again)


@pytest_twisted.ensureDeferred
async def test_modification_time_counts_too(fetcher: Fetcher, tmp_path: Path) -> None:
    """A server without entity tags is asked by time."""
    (tmp_path / "conf").write_bytes(b"one")
    async with server(files=File(str(tmp_path))) as url:
        first = await fetcher.fetch(url + "files/conf")
        again = await fetcher.fetch(url + "files/conf", known=first.validators)

    assert (b"one", None) == (first.data, again.data)


@pytest_twisted.ensureDeferred
async def test_redirects_are_followed(fetcher: Fetcher) -> None:
    """A moved file is found."""
    async with server(old=Redirect(b"new"), new=Data(b"here", "text/plain")) as url:
        fetched = await fetcher.fetch(url + "old")

    assert b"here" == fetched.data


@pytest.mark.parametrize("place", ["ftp://127.0.0.1/x", "file:///etc/passwd", "http://[::1/"])
@pytest_twisted.ensureDeferred
async def test_redirects_elsewhere_are_not_followed(fetcher: Fetcher, place: str) -> None:
    """A server cannot send the daemon out of HTTP, nor to no place at all."""
    async with server(old=Redirect(place.encode())) as url:
        with pytest.raises(ConfigurationError, match="no proper answer: (SchemeNotSupported|ValueError)"):
            await fetcher.fetch(url + "old")


@pytest_twisted.ensureDeferred
async def test_errors_show_the_public_url(fetcher: Fetcher) -> None:
    """A refusal names the status and the form of the URL that may be shown."""
    async with server() as url:
        with pytest.raises(ConfigurationError, match=r"^http://\$HOST/: the server answers 404"):
            await fetcher.fetch(url + "secret", shown="http://$HOST/")


@pytest_twisted.ensureDeferred
async def test_too_much_is_not_read(fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the size limit the connection is dropped."""
    monkeypatch.setattr(fetch, "LARGEST", 1000)
    async with server(big=Data(b"x" * 100_000, "text/plain")) as url:
        with pytest.raises(ConfigurationError, match="more than 1000 bytes"):
            await fetcher.fetch(url + "big")


@pytest_twisted.ensureDeferred
async def test_silent_server(fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not answer is given up."""
    monkeypatch.setattr(fetch, "LONGEST", 0.1)
    async with server(silent=Silent()) as url:
        with pytest.raises(ConfigurationError, match="no whole answer"):
            await fetcher.fetch(url + "silent")


@pytest_twisted.ensureDeferred
async def test_no_server(fetcher: Fetcher) -> None:
    """A port where nobody listens is told as such."""
    async with server() as url:
        pass

    with pytest.raises(ConfigurationError, match="cannot connect"):
        await fetcher.fetch(url)
