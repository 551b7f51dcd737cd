"""XML-RPC, through Python's own client over real TLS, and bodies that no client would send."""

from __future__ import annotations

import contextlib
import http.client
import ssl
import xmlrpc.client
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.threads import deferToThread

from imaginator.model.build import BuildFailure, BuildRequest
from imaginator.rpc.certificates import Wish
from imaginator.rpc.faults import DEEPEST_NESTING, Fault
from imaginator.rpc.methods import METHODS
from imaginator.rpc.xmlrpc import check_call, to_json_value
from imaginator.rpc.xmlvalues import response
from tests.support.rpc_site import SECRET, RpcSite

T = TypeVar("T")
ALICE = Wish("alice")
CALL = "<methodCall><methodName>ImageServer.ListImages</methodName><params>{}</params></methodCall>"
BOMB = '<!DOCTYPE a [<!ENTITY b "x"><!ENTITY c "&b;&b;&b;&b;">]>'
OUTSIDE = '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>'


def context(site: RpcSite, wish: Wish) -> ssl.SSLContext:
    """What a client with such a certificate shakes hands with."""
    credentials = site.certify(wish)
    made = ssl.create_default_context(cafile=credentials.authority)
    assert credentials.certificate is not None
    made.load_cert_chain(credentials.certificate, credentials.key)
    return made


async def ask(site: RpcSite, use: Callable[[Any], T], wish: Wish = ALICE) -> T:
    """What ``use`` makes of Python's client, in a thread of its own."""

    def run() -> T:
        url = f"https://localhost:{site.port}/RPC2"
        with xmlrpc.client.ServerProxy(url, context=context(site, wish)) as proxy:
            return use(proxy)

    return await deferToThread(run)


async def post(site: RpcSite, body: bytes, **headers: str) -> tuple[int, str]:
    """The status of an answer, and its text."""

    def run() -> tuple[int, str]:
        connection = http.client.HTTPSConnection("localhost", site.port, context=context(site, ALICE))
        connection.request("POST", "/RPC2", body, {"Content-Type": "text/xml", "Connection": "close", **headers})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()

    return await deferToThread(run)


def builds_since(since: xmlrpc.client.DateTime, proxy: Any) -> Any:
    """The builds that were asked for since a time."""
    return proxy.Imaginator.ListBuilds({"Since": since})


@pytest_twisted.ensureDeferred
async def test_submit_and_get(site: RpcSite) -> None:
    """A build is queued and told of; what is null is absent."""
    record = await ask(
        site, lambda proxy: proxy.Imaginator.SubmitBuild({"StreamName": "base/web", "ExpiresIn": 3600, "Variables": {}})
    )
    found = await ask(site, lambda proxy: proxy.Imaginator.GetBuild({"BuildId": record["BuildId"]}))

    assert ("queued", "alice", False) == (found["State"], found["Requester"], "Failure" in found)
    assert 3600 == found["Request"]["ExpiresIn"]


@pytest_twisted.ensureDeferred
async def test_methods_are_listed(site: RpcSite) -> None:
    """A call without parameters; every method is there."""
    assert sorted(METHODS) == await ask(site, lambda proxy: proxy.system.listMethods())


@pytest_twisted.ensureDeferred
async def test_fault(site: RpcSite) -> None:
    """A fault has the code and the sentence of JSON-RPC, without secrets."""
    record = site.builder.add(BuildRequest(stream_name="base/web"))
    site.builder.fail(record.build_id, BuildFailure(-32005, "build-failed", f"no {SECRET}\x07"))
    with pytest.raises(xmlrpc.client.Fault) as caught:
        await ask(site, lambda proxy: proxy.Imaginator.SubmitBuild({"StreamName": "no/such"}), Wish("root-user"))
    shown = await ask(site, lambda proxy: proxy.Imaginator.GetBuild({"BuildId": record.build_id}))

    assert (-32003, "unknown stream: no/such") == (caught.value.faultCode, caught.value.faultString)
    assert "no $SECRET\ufffd" == shown["Failure"]["Message"]


@pytest_twisted.ensureDeferred
async def test_time(site: RpcSite) -> None:
    """A time of XML-RPC is one of UTC."""
    site.builder.add(BuildRequest(stream_name="base/web"))
    before, after = (xmlrpc.client.DateTime(datetime(2026, 11, day)) for day in (22, 23))
    found = [await ask(site, partial(builds_since, since)) for since in (before, after)]

    assert [1, 0] == [len(answer["Builds"]) for answer in found]


@pytest_twisted.ensureDeferred
async def test_unknown_method(site: RpcSite) -> None:
    """It is told by the code of JSON-RPC."""
    with pytest.raises(xmlrpc.client.Fault, match="no such method: No.such"):
        await ask(site, lambda proxy: proxy.No.such())


@pytest.mark.parametrize(
    ("body", "code", "sentence"),
    [
        ("", -32700, "not XML"),
        ("<methodCall>", -32700, "not XML"),
        (BOMB + CALL.format(""), -32700, "document type"),
        (OUTSIDE + CALL.format(""), -32700, "document type"),
        ('<?xml version="1.0" encoding="no-such"?>' + CALL.format(""), -32700, "not XML"),
        (CALL.format("<param><value><int>x</int></value></param>"), -32700, "deserialize"),
        (CALL.format("<param><value><double>nan</double></value></param>"), -32600, "no number"),
        (CALL.format("<param><value><array><data>" * 500 + "</data></array></value></param>" * 500), -32700, "deeper"),
        (CALL.format("<param><value>x</value></param>"), -32602, "one object of named parameters"),
        ("<methodResponse><params/></methodResponse>", -32600, "expected a methodCall"),
        ("<methodCall><params/></methodCall>", -32600, "names no method"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_bad_bodies(site: RpcSite, body: str, code: int, sentence: str) -> None:
    """Each is answered with a fault that says what is wrong."""
    status, text = await post(site, body.encode())
    with pytest.raises(xmlrpc.client.Fault, match=sentence) as caught:
        xmlrpc.client.loads(text)

    assert (200, code) == (status, caught.value.faultCode)


@pytest_twisted.ensureDeferred
async def test_forms_do_not_call(site: RpcSite) -> None:
    """What another site's form can send is refused."""
    status, _ = await post(site, CALL.format("").encode(), **{"Content-Type": "text/plain"})

    assert 415 == status


@pytest_twisted.ensureDeferred
async def test_without_certificate(site: RpcSite) -> None:
    """401 over TLS, 403 without; Python's client tells of it as a protocol's error."""

    def run(url: str) -> int:
        context = ssl.create_default_context(cafile=site.files / "CA.pem")
        with xmlrpc.client.ServerProxy(url, context=context) as proxy, pytest.raises(xmlrpc.client.ProtocolError) as e:
            proxy.system.listMethods()
        return e.value.errcode

    assert 401 == await deferToThread(run, f"https://localhost:{site.port}/RPC2")
    assert 403 == await deferToThread(run, f"http://localhost:{site.plain_port}/RPC2")


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(JSON_VALUES)
def test_answers_can_be_read(value: object) -> None:
    """Whatever is answered, a client reads it; and sent back, it is the same answer again, as Python writes it."""
    text = response({"it": value})
    (read,), _ = xmlrpc.client.loads(text)
    carried = to_json_value(read)

    assert text == response(carried) or b"\r" in text
    assert response(carried) == xmlrpc.client.dumps((carried,), methodresponse=True).encode()


@given(st.binary() | st.text().map(str.encode) | st.integers(0, 200).map(lambda n: CALL.format("<value>" * n).encode()))
def test_any_body(body: bytes) -> None:
    """It is a call, or refused with a fault, and with nothing else."""
    with contextlib.suppress(Fault):
        check_call(body)


def test_depth() -> None:
    """As deep as JSON may be is not too deep here."""
    value: Any = []
    for _ in range(DEEPEST_NESTING - 1):
        value = [value]

    check_call(xmlrpc.client.dumps((value,), "x").encode())
