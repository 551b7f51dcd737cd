"""Git over HTTP: what reaches other processes' eyes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request, Site
from twisted.web.twcgi import CGIScript

from imaginator.build.sources import SourceLocation, Sources
from imaginator.model.errors import BuildFailed
from imaginator.model.redaction import Redactor
from tests.build.test_sources import Repository

SECRET = "s3cr3t-word"
BACKEND = Path("/usr/lib/git-core/git-http-backend")


def command_lines() -> Iterator[str]:
    """The arguments of every process of this machine, as `ps` shows them."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue


class Backend(CGIScript):
    """Git's own HTTP server, which looks at all command lines whenever it is asked."""

    def __init__(self, root: Path) -> None:
        super().__init__(str(BACKEND))
        self.root = root
        self.seen: list[str] = []

    def getChild(self, _path: bytes, _request: Request) -> Resource:  # noqa: N802
        """Everything is one program's."""
        return self

    def render(self, request: Request) -> object:
        """Look, then run the program."""
        self.seen += [line for line in command_lines() if SECRET in line]
        request.postpath = []
        return super().render(request)

    def runProcess(self, env: dict[str, str], request: Request, qargs: list[str] | None = None) -> None:  # noqa: N802
        """Serve one repository, whatever it is called in the URL: the first two parts are its name."""
        path = "/".join(["/repository/.git", *request.path.decode().split("/")[3:]])
        own = {"GIT_PROJECT_ROOT": str(self.root), "GIT_HTTP_EXPORT_ALL": "1", "PATH": os.environ["PATH"]}
        super().runProcess({**env, **own, "PATH_INFO": path}, request, qargs or [])


@asynccontextmanager
async def served(resource: IResource) -> AsyncIterator[str]:
    """A real HTTP server on a free port; its address."""
    from twisted.internet import reactor

    port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(Site(resource))
    try:
        yield f"127.0.0.1:{port.getHost().port}"
    finally:
        await port.stopListening()


@pytest_twisted.ensureDeferred
async def test_url_is_on_no_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret anywhere in an HTTP URL, user, password or path, is never an argument of a process."""
    from twisted.internet import reactor

    monkeypatch.setattr("imaginator.build.retry.DELAYS", ())
    repository = Repository(tmp_path / "repository")
    backend = Backend(tmp_path)
    sources = Sources(reactor, tmp_path / "sources")  # type: ignore[arg-type]

    async with served(backend) as address:
        url = f"http://{SECRET}:{SECRET}@{address}/{SECRET}/x.git"
        location = SourceLocation(url, f"http://$TOKEN@{address}/x.git", "one")
        checkout = await sources.fetch(location, tmp_path / "out", Redactor({"TOKEN": SECRET}))

    assert repository.first == checkout.commit
    assert [] == backend.seen
    assert [] == grep(tmp_path / "sources")


def grep(directory: Path) -> list[str]:
    """The files below a directory that hold the secret."""
    result = subprocess.run(["grep", "-rl", SECRET, directory], capture_output=True, text=True, check=False)
    return result.stdout.splitlines()


@pytest_twisted.ensureDeferred
async def test_refusal_is_told_without_the_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that refuses is told by the public URL, without a question on the terminal."""
    from twisted.internet import reactor

    monkeypatch.setattr("imaginator.build.retry.DELAYS", ())
    sources = Sources(reactor, tmp_path / "sources")  # type: ignore[arg-type]

    async with served(Resource()) as address:
        location = SourceLocation(f"http://{SECRET}@{address}/x.git", f"http://$TOKEN@{address}/x.git")
        with pytest.raises(BuildFailed, match=r"\$TOKEN") as caught:
            await sources.fetch(location, tmp_path / "out", Redactor({"TOKEN": SECRET}))

    assert SECRET not in str(caught.value)
