"""What the pages tell of the daemon's certificates, and to whom they are told where they need one."""

from __future__ import annotations

from datetime import timedelta
from typing import cast

import pytest
import pytest_twisted
from twisted.web.resource import Resource

from imaginator.model.expiry import Expiry, TlsState
from imaginator.schedule.builder import Builder
from imaginator.web.app import Web
from imaginator.web.site import BoundedSite
from imaginator.web.view import WebParts
from tests.support.fake_builder import START, FakeBuilder
from tests.support.raw_http import Tls, served
from tests.support.real_reactor import reactor
from tests.support.visitor import Visitor, one_worker

LATER = Expiry("cert-file", "the daemon's certificate", "cert.pem", START + timedelta(days=31))
SOON = Expiry("crl-file", "the list of revoked certificates", "crl.pem", START + timedelta(days=29))
STATE = TlsState("key.pem: <not> the key", ("crl.pem: no list",), (LATER, SOON))
CONCERNS = "Look after the certificates"
PAGES = (
    "/", "/showImageStreams", "/showImageStream?x/y", "/listImages", "/showImage?x/y/2026-11-22:23:38:05",
    "/showBuild?01JDAV3K8ZQ5TQXH3N7RWM2E4C", "/showBuildLog?01JDAV3K8ZQ5TQXH3N7RWM2E4C", "/showCurrentBuildLog?x/y",
    "/showLastBuildLog?x/y", "/getImage?x/y/2026-11-22:23:38:05", "/metrics", "/logs", "/static/style.css", "/none",
    "//healthz", "/healthz/", "/static/../healthz", "/%68ealthz", "/jsonrpcs",
)  # fmt: skip


def test_the_status_page_tells_what_ends() -> None:
    """All ends are there; what is wrong, odd or near stands out."""
    text = Visitor(FakeBuilder(), tls=lambda: STATE).get("/").text

    assert CONCERNS in text
    for sentence in ("key.pem: &lt;not&gt; the key; what was read before stays in force", "crl.pem: no list"):
        assert f"<li>{sentence}</li>" in text
    assert "the list of revoked certificates expires on 2026-12-21 23:38 UTC: crl.pem" in text
    assert "cert.pem" not in text
    assert ">in 31 d</time>, the list of revoked certificates is due <time" in text


def test_certificates_without_a_concern() -> None:
    """Nothing stands out while all is well, nor where there are none."""
    for state in (TlsState(), TlsState(expiries=(LATER,))):
        assert CONCERNS not in Visitor(FakeBuilder(), tls=lambda state=state: state).get("/").text


def test_metrics_of_certificates() -> None:
    """The ends by flag, and whether changed files are refused."""
    text = Visitor(FakeBuilder(), tls=lambda: STATE).get("/metrics").text
    none = Visitor(FakeBuilder()).get("/metrics").text

    seconds = {expiry.flag: expiry.at.timestamp() for expiry in (LATER, SOON)}
    for line in text.splitlines():
        if line.startswith("imaginator_certificate_expiry_timestamp_seconds{"):
            label, value = line.split("} ")
            assert float(value) == seconds.pop(label.partition('"')[2].rstrip('"'))
    assert {} == seconds
    assert "imaginator_certificates_refused 1.0" in text
    assert "imaginator_certificates_refused 0.0" in none


@pytest.mark.parametrize("path", PAGES)
def test_plain_http_is_shown_nothing(path: str) -> None:
    """Not even whether there is such a page; programs and browsers are told why."""
    visit = Visitor(FakeBuilder({"x/y": []}), identified=True)
    answers = [visit.get(path), visit.get(path, accept="*/*")]

    assert [403, 403] == [answer.status for answer in answers]
    assert all("pages need HTTPS with a client certificate" in answer.text for answer in answers)
    assert "nosniff" == answers[0].header("X-Content-Type-Options")


def test_what_stays_open() -> None:
    """Supervisors are answered; RPC and shells demand an identity by themselves, and say so in their own form."""

    class Own(Resource):
        isLeaf = True  # noqa: N815

        def render(self, _request: object) -> bytes:
            return b"own"

    visit = Visitor(FakeBuilder(), rpc={name: Own() for name in ("jsonrpc", "RPC2", "shell")}, identified=True)

    assert "ok\n" == visit.get("/healthz").text
    assert ["own"] * 3 == [visit.get(path, method="POST").text for path in ("/jsonrpc", "/RPC2", "/shell")]


@pytest_twisted.ensureDeferred
async def test_a_certificate_opens_the_pages() -> None:
    """Over HTTPS, with one and not without."""
    web = Web(WebParts(cast("Builder", FakeBuilder()), one_worker(), str, reactor, identified=True))
    statuses = {}
    async with served(BoundedSite(web.resource(), reactor), Tls()) as connect:
        for user in ("", "alice"):
            client = await connect(user)
            client.ask("/listImages")
            answer = await client.until(lambda data: b"\r\n\r\n" in data)
            statuses[user] = bytes(answer).split(b" ")[1]

    assert {"": b"401", "alice": b"200"} == statuses
