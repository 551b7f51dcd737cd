"""What is done from pages: by their own forms, by those who may, and by nobody else's page."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast
from urllib.parse import urlencode

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.web.server import Request

from imaginator.model.build import BuildRequest, State
from imaginator.model.errors import NotAuthenticated
from imaginator.model.identity import Caller
from imaginator.schedule.builder import Builder
from imaginator.web.app import Web
from imaginator.web.site import BoundedSite
from imaginator.web.view import WebParts
from tests.support.fake_builder import FakeBuilder
from tests.support.raw_http import RawClient, Tls, served
from tests.support.real_reactor import reactor
from tests.support.visitor import Visitor, one_worker

OWN = "https://localhost"
Connect = Callable[..., Deferred[RawClient]]


def by_certificate(request: Request, _method: str) -> Caller:
    """Somebody with a certificate."""
    transport = request.transport
    if not request.isSecure() or transport.getPeerCertificate() is None:  # type: ignore[union-attr]
        raise NotAuthenticated("no client certificate was shown")
    return Caller("alice")


@asynccontextmanager
async def pages(builder: FakeBuilder) -> AsyncIterator[Connect]:
    """The pages over TLS."""
    web = Web(WebParts(cast("Builder", builder), one_worker(), str, reactor, caller=by_certificate))
    async with served(BoundedSite(web.resource(), reactor), Tls()) as connect:
        yield connect


async def post(client: RawClient, path: str, fields: dict[str, str], *headers: str) -> tuple[int, str]:
    """The status of an answer, and where it leads."""
    body = urlencode(fields)
    kind = "Content-Type: application/x-www-form-urlencoded"
    client.ask(path, kind, f"Content-Length: {len(body)}", "Connection: close", *headers, method="POST")
    client.transport.write(body.encode())
    await client.lost
    head = bytes(client.data).partition(b"\r\n\r\n")[0].decode().split("\r\n")
    places = [line.partition(": ")[2] for line in head if line.lower().startswith("location: ")]
    return int(head[0].split()[1]), places[0] if places else ""


OURS = ("Sec-Fetch-Site: same-origin", f"Origin: {OWN}")


@pytest_twisted.ensureDeferred
async def test_build_and_cancel() -> None:
    """A button builds, another cancels; both lead to the build's page."""
    builder = FakeBuilder({"a/b": ["alice"]})
    async with pages(builder) as connect:
        status, place = await post(await connect("alice"), "/buildNow", {"stream": "a/b"}, *OURS)
        (record,) = builder.records.values()
        page = await connect("alice")
        page.ask(f"/showBuild?{record.build_id}", "Connection: close")
        await page.lost
        cancelled = await post(await connect("alice"), "/cancelBuild", {"build": record.build_id}, *OURS)

    assert (303, f"/showBuild?{record.build_id}") == (status, place) == cancelled
    assert State.CANCELLED is builder.records[record.build_id].state
    assert b'action="/cancelBuild"' in page.data


@pytest.mark.parametrize(
    "headers",
    [
        ("Sec-Fetch-Site: cross-site",),
        ("Sec-Fetch-Site: same-site",),
        ("Sec-Fetch-Site: none",),
        ("Origin: https://evil.example",),
        ("Origin: null",),
        ("Origin: http://localhost",),
    ],
)
@pytest.mark.parametrize("path", ["/buildNow", "/cancelBuild", "/showDirectedGraph"])
@pytest_twisted.ensureDeferred
async def test_other_sites(path: str, headers: tuple[str, ...]) -> None:
    """A browser that another site makes ask is refused, whoever's certificate it shows."""
    builder = FakeBuilder({"a/b": ["alice"]})
    record = builder.add(BuildRequest(stream_name="a/b"))
    async with pages(builder) as connect:
        fields = {"stream": "a/b", "build": record.build_id}
        status, _ = await post(await connect("alice"), path, fields, *headers)

    assert 403 == status
    assert {record.build_id: State.QUEUED} == {key: value.state for key, value in builder.records.items()}


@pytest.mark.parametrize("path", ["/buildNow", "/cancelBuild", "/showDirectedGraph"])
@pytest_twisted.ensureDeferred
async def test_nobody_in_particular(path: str) -> None:
    """Without a certificate nothing is done, nor is anything offered."""
    builder = FakeBuilder({"a/b": ["alice"]})
    record = builder.add(BuildRequest(stream_name="a/b"))
    async with pages(builder) as connect:
        fields = {"stream": "a/b", "build": record.build_id}
        status, _ = await post(await connect(), path, fields, *OURS)

    assert (401, [record]) == (status, list(builder.records.values()))
    shown = [Visitor(builder).get(page).text for page in (f"/showBuild?{record.build_id}", "/showImageStream?a/b")]
    assert not any("<button>" in text for text in shown)


@pytest.mark.parametrize(
    ("who", "path", "fields", "status"),
    [
        ("bob", "/buildNow", {"stream": "a/b"}, 303),
        ("alice", "/buildNow", {"stream": "no/such"}, 404),
        ("alice", "/buildNow", {}, 400),
        ("alice", "/buildNow", {"stream": "../x"}, 400),
        ("alice", "/cancelBuild", {"build": "x"}, 400),
        ("alice", "/cancelBuild", {"build": "0" * 26}, 404),
        ("alice", "/cancelBuild", {f"f{number}": "1" for number in range(200)}, 400),
    ],
)
@pytest_twisted.ensureDeferred
async def test_answers(who: str, path: str, fields: dict[str, str], status: int) -> None:
    """What makes no sense is refused as elsewhere."""
    async with pages(FakeBuilder({"a/b": ["alice"]})) as connect:
        assert status == (await post(await connect(who), path, fields, *OURS))[0]


@pytest_twisted.ensureDeferred
async def test_regenerate() -> None:
    """The graph is found out anew, and shown with the same choice."""
    builder = FakeBuilder({"a/b": []})
    async with pages(builder) as connect:
        answer = await post(await connect("alice"), "/showDirectedGraph?include=a", {}, *OURS)

    assert (303, "/showDirectedGraph?include=a") == answer
    assert [0.0] == builder.dependencies.asked
