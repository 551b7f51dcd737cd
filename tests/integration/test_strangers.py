"""Callers whom the daemon does not know: nothing is executed, and the reason is told."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from imaginator.rpc.certificates import make_authority, make_certificate
from imaginator.rpc.client import Client, Credentials, RpcError, Unreachable
from tests.support.live import Live

pytestmark = pytest.mark.integration


def submit(live: Live, credentials: Credentials) -> None:
    """Try to have an image built."""
    with Client("127.0.0.1", live.daemon.port, credentials) as client:
        client.call("Imaginator.SubmitBuild", StreamName="small", ExpiresIn=3600)


@pytest.fixture(autouse=True)
def nothing_built(small: Live) -> None:
    """A daemon that has built nothing before."""
    assert [] == small.call("Imaginator.ListBuilds")["Builds"]


def test_without_a_certificate(small: Live) -> None:
    """HTTPS without a client certificate is not authenticated."""
    with pytest.raises(RpcError) as caught:
        submit(small, Credentials(None, None, small.site.authority))

    assert -32001 == caught.value.code


def test_with_a_foreign_certificate(small: Live, tmp_path: Path) -> None:
    """A certificate of another authority ends the handshake, though it names every method."""
    files = tmp_path / "foreign.pem", tmp_path / "foreign.key"
    make_certificate(make_authority("elsewhere"), "user", methods=["Imaginator.*"]).write(*files)
    with pytest.raises(Unreachable, match="certificate"):
        submit(small, Credentials(*files, small.site.authority))


def test_over_plain_http(small: Live) -> None:
    """RPC over plain HTTP is answered 403."""
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "Imaginator.ListBuilds", "params": {}}).encode()
    headers = {"Content-Type": "application/json"}
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(urllib.request.Request(small.daemon.url + "jsonrpc", body, headers))
    with caught.value as answer:
        assert 403 == answer.status


def test_downloads_need_a_certificate(small: Live) -> None:
    """The content of images is not for everybody who reaches the port."""
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(small.daemon.url + "getImage?small/2026-01-01:00:00:00")
    with caught.value as answer:
        assert answer.status in (401, 403)
