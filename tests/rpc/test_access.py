"""Who may call what: every kind of caller against the same methods, over real TLS."""

from __future__ import annotations

import http.client
import json
from datetime import UTC, datetime, timedelta

import pytest
import pytest_twisted
from twisted.internet.threads import deferToThread

from imaginator.rpc.certificates import Wish, make_authority
from imaginator.rpc.client import Credentials, RpcError, Unreachable
from imaginator.rpc.identity import GROUPS_OID
from tests.support.rpc_site import RpcSite

SUBMIT = {"StreamName": "base/web", "ExpiresIn": 3600}

ALLOWED = {
    "stream's builder": Wish("alice"),
    "trusted user": Wish("root-user"),
    "trusted group": Wish("bob", groups=["eng", "root-group"]),
    "method by name": Wish("bob", methods=["Imaginator.BuildImage"]),
    "method by pattern": Wish("bob", methods=["Imaginator.*"]),
    "everything": Wish("bob", methods=["*.*"]),
}

REFUSED = {
    "stranger": Wish("bob"),
    "other group": Wish("bob", groups=["eng"]),
    "other method": Wish("bob", methods=["ImageServer.*", "Imaginator.CancelBuild"]),
}

NOW = datetime.now(UTC)
UNTRUSTED = {
    "foreign authority": (Wish("alice"), make_authority("foreign authority")),
    "authority of the same name": (Wish("alice"), make_authority("test authority")),
    "expired": (Wish("alice", not_before=NOW - timedelta(days=2), not_after=NOW - timedelta(days=1)), None),
    "not yet valid": (Wish("alice", not_before=NOW + timedelta(days=1)), None),
    "made for servers": (Wish("alice", server=True), None),
}


@pytest.mark.parametrize("who", ALLOWED)
@pytest_twisted.ensureDeferred
async def test_allowed(site: RpcSite, who: str) -> None:
    """A build is queued for those who may build."""
    record = await site.call(site.certify(ALLOWED[who]), "Imaginator.SubmitBuild", **SUBMIT)

    assert ("queued", ALLOWED[who].user) == (record["State"], record["Requester"])


@pytest.mark.parametrize("who", REFUSED)
@pytest_twisted.ensureDeferred
async def test_refused(site: RpcSite, who: str) -> None:
    """Others are told that they may not, and nothing is queued."""
    with pytest.raises(RpcError) as caught:
        await site.call(site.certify(REFUSED[who]), "Imaginator.SubmitBuild", **SUBMIT)

    assert (-32002, "no permission to build: base/web") == (caught.value.code, caught.value.message)
    assert {"kind": "not-permitted"} == caught.value.data
    assert {} == site.builder.records


@pytest.mark.parametrize("who", UNTRUSTED)
@pytest_twisted.ensureDeferred
async def test_untrusted_certificate(site: RpcSite, who: str) -> None:
    """A certificate that does not verify ends the handshake; the client says so."""
    wish, authority = UNTRUSTED[who]

    with pytest.raises(Unreachable, match=r"refused the client certificate|closed the connection"):
        await site.call(site.certify(wish, authority), "Imaginator.SubmitBuild", **SUBMIT)

    assert {} == site.builder.records


@pytest_twisted.ensureDeferred
async def test_garbage_extension(site: RpcSite) -> None:
    """A certificate that verifies but whose groups cannot be read is nobody's."""
    credentials = site.certify(Wish("alice", extensions={GROUPS_OID: b"\x30\x05garbage"}))

    with pytest.raises(RpcError) as caught:
        await site.call(credentials, "Imaginator.SubmitBuild", **SUBMIT)

    assert -32001 == caught.value.code
    assert {} == site.builder.records


@pytest_twisted.ensureDeferred
async def test_no_certificate(site: RpcSite) -> None:
    """Anonymous TLS is answered, but not served."""
    anonymous = Credentials(authority=site.files / "CA.pem")

    with pytest.raises(RpcError) as caught:
        await site.call(anonymous, "Imaginator.SubmitBuild", **SUBMIT)

    assert (-32001, "no client certificate was shown") == (caught.value.code, caught.value.message)
    assert {} == site.builder.records


@pytest_twisted.ensureDeferred
async def test_plain_http(site: RpcSite) -> None:
    """Plain HTTP is forbidden."""
    body = json.dumps({"jsonrpc": "2.0", "method": "Imaginator.SubmitBuild", "params": SUBMIT, "id": 1})

    def post() -> tuple[int, int]:
        connection = http.client.HTTPConnection("127.0.0.1", site.plain_port)
        connection.request("POST", "/jsonrpc", body, {"Content-Type": "application/json", "Connection": "close"})
        response = connection.getresponse()
        return response.status, json.loads(response.read())["error"]["code"]

    assert (403, -32001) == await deferToThread(post)
    assert {} == site.builder.records


@pytest_twisted.ensureDeferred
async def test_only_requester_and_full_access_cancel(site: RpcSite) -> None:
    """Another user's build is not cancelled by those who may only build."""
    record = await site.call(site.certify(Wish("alice")), "Imaginator.SubmitBuild", **SUBMIT)
    wanted = {"BuildId": record["BuildId"]}
    with pytest.raises(RpcError, match="no permission"):
        await site.call(
            site.certify(Wish("bob", methods=["Imaginator.BuildImage"])), "Imaginator.CancelBuild", **wanted
        )

    cancelled = await site.call(site.certify(Wish("root-user")), "Imaginator.CancelBuild", **wanted)

    assert "cancelled" == cancelled["State"]
