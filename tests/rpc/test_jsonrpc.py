"""JSON-RPC 2.0 to the letter, over real TLS."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure

from imaginator.model.build import BuildFailure, BuildRequest
from imaginator.rpc.admitting import LONGEST_BODY
from imaginator.rpc.certificates import Wish
from imaginator.rpc.faults import DEEPEST_NESTING, Fault
from imaginator.rpc.jsonrpc import LARGEST_BATCH, decode_message
from tests.support.fake_builder import FakeBuilder
from tests.support.rpc_site import SECRET, RpcSite

LIST = {"jsonrpc": "2.0", "method": "ImageServer.ListImages", "id": 1}
NO_IMAGES = {"jsonrpc": "2.0", "result": {"Images": []}, "id": 1}


async def exchange(
    site: RpcSite, body: bytes, method: str = "POST", content_type: str = "application/json"
) -> tuple[int, bytes]:
    """The status and body of the answer to a body that root-user sends."""
    credentials = site.certify(Wish("root-user"))
    context = ssl.create_default_context(cafile=credentials.authority)
    context.load_cert_chain(str(credentials.certificate), credentials.key)

    def run() -> tuple[int, bytes]:
        connection = http.client.HTTPSConnection("127.0.0.1", site.port, context=context)
        connection.request(method, "/jsonrpc", body, {"Content-Type": content_type, "Connection": "close"})
        response = connection.getresponse()
        return response.status, response.read()

    return await deferToThread(run)


async def answer(site: RpcSite, message: object) -> Any:
    """The answer to a message, which must come with status 200."""
    status, body = await exchange(site, json.dumps(message).encode())
    assert 200 == status
    return json.loads(body)


def code_of(message: dict[str, Any]) -> tuple[int, object]:
    """An error's code, and the id that it answers."""
    return message["error"]["code"], message["id"]


@pytest_twisted.ensureDeferred
async def test_call(site: RpcSite) -> None:
    """A call is answered with its result and id."""
    assert await answer(site, LIST) == NO_IMAGES


@pytest.mark.parametrize("call_id", ["text", 0, 1.5, 2**70, None])
@pytest_twisted.ensureDeferred
async def test_ids(site: RpcSite, call_id: object) -> None:
    """An id comes back as it was: a string, a number or null."""
    assert {**NO_IMAGES, "id": call_id} == await answer(site, {**LIST, "id": call_id})


@pytest_twisted.ensureDeferred
async def test_notification(site: RpcSite) -> None:
    """A call without an id is carried out, and not answered, even when it fails."""
    good = {"StreamName": "base/web", "ExpiresIn": 3600}
    for params in (good, {"StreamName": "no/such"}):
        message = {"jsonrpc": "2.0", "method": "Imaginator.SubmitBuild", "params": params}
        assert (204, b"") == await exchange(site, json.dumps(message).encode())

    assert ["base/web"] == [record.request.stream_name for record in site.builder.records.values()]


@pytest_twisted.ensureDeferred
async def test_batch(site: RpcSite) -> None:
    """A batch answers each call and each malformed member, and no notification."""
    batch = [LIST, {**LIST, "id": 2}, {"jsonrpc": "2.0", "method": "x.y"}, 7, {"method": "x.y", "id": "old"}]
    first, second, third, fourth = await answer(site, batch)

    assert [NO_IMAGES, {**NO_IMAGES, "id": 2}] == [first, second]
    assert [(-32600, None), (-32600, "old")] == [code_of(third), code_of(fourth)]


@pytest_twisted.ensureDeferred
async def test_batch_of_notifications(site: RpcSite) -> None:
    """Where there is nothing to answer, the answer is empty."""
    notification = {"jsonrpc": "2.0", "method": "ImageServer.ListImages"}

    assert (204, b"") == await exchange(site, json.dumps([notification] * 2).encode())


@pytest.mark.parametrize("batch", [[], [LIST] * (LARGEST_BATCH + 1)], ids=["empty", "too large"])
@pytest_twisted.ensureDeferred
async def test_batch_size(site: RpcSite, batch: list[object]) -> None:
    """An empty or too large batch is one invalid request."""
    assert (-32600, None) == code_of(await answer(site, batch))


@pytest.mark.parametrize(
    "message",
    [
        7,
        "text",
        None,
        {},
        {**LIST, "jsonrpc": "1.0"},
        {**LIST, "method": 1},
        {**LIST, "params": "bar"},
        {**LIST, "params": None},
        {**LIST, "id": True},
        {**LIST, "id": [1]},
    ],
    ids=str,
)
@pytest_twisted.ensureDeferred
async def test_invalid_request(site: RpcSite, message: object) -> None:
    """JSON that is no request object is an invalid request; its id comes back where it has a valid one."""
    valid_id = message.get("id") if isinstance(message, dict) else None
    expected = valid_id if valid_id == 1 and valid_id is not True else None

    assert (-32600, expected) == code_of(await answer(site, message))


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b'{"jsonrpc": "2.0",}', b"[NaN]", b"[Infinity]", b'"\xff"', b"[1] 2", b"[" * 100_000],
    ids=["empty", "open", "comma", "NaN", "infinity", "not UTF-8", "two values", "deep"],
)
@pytest_twisted.ensureDeferred
async def test_parse_error(site: RpcSite, body: bytes) -> None:
    """What is not JSON is a parse error with the id null."""
    status, text = await exchange(site, body)

    assert (200, (-32700, None)) == (status, code_of(json.loads(text)))


@pytest_twisted.ensureDeferred
async def test_unknown_method(site: RpcSite) -> None:
    """The error names the method."""
    message = await answer(site, {**LIST, "method": "Imaginator.Explode"})

    assert -32601 == message["error"]["code"]
    assert "no such method: Imaginator.Explode" == message["error"]["message"]


@pytest.mark.parametrize("params", [[], {}, [{}], [{"Prefix": ""}]], ids=str)
@pytest_twisted.ensureDeferred
async def test_parameters_by_position(site: RpcSite, params: object) -> None:
    """Nothing, an object, or an array of one object are all the same."""
    assert await answer(site, {**LIST, "params": params}) == NO_IMAGES


@pytest.mark.parametrize(
    ("method", "params", "sentence"),
    [
        ("ImageServer.ListImages", {"Prefx": ""}, "unknown field 'Prefx', the fields are: Prefix"),
        ("ImageServer.ListImages", [1, 2], "expected one object of named parameters"),
        ("system.listMethods", {"a": 1}, "unknown field 'a', the fields are: none"),
        ("Imaginator.GetBuild", {}, "Object missing required field `BuildId`"),
        ("Imaginator.GetBuild", {"BuildId": "../x"}, "expected the 26 characters of a ULID"),
        ("Imaginator.ListBuilds", {"Limit": 0}, "`$.Limit`"),
        ("Imaginator.ListBuilds", {"State": "asleep"}, "`$.State`"),
        ("Imaginator.ListBuilds", {"Since": "yesterday"}, "`$.Since`"),
        ("Imaginator.SubmitBuild", {"StreamName": 7}, "`$.StreamName`"),
        ("Imaginator.SubmitBuild", {"StreamName": "a", "Variables": {"A": 1}}, "`$.Variables[...]`"),
        ("Imaginator.SubmitBuild", {"StreamName": "../etc"}, "stream name '../etc'"),
        ("ImageServer.GetImage", {"ImageName": "base/web"}, "expected STREAM/YYYY"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_invalid_parameters(site: RpcSite, method: str, params: object, sentence: str) -> None:
    """The error names the field and what was expected."""
    message = await answer(site, {**LIST, "method": method, "params": params})

    assert -32602 == message["error"]["code"]
    assert sentence in message["error"]["message"]
    assert "invalid-request" == message["error"]["data"]["kind"]


@pytest_twisted.ensureDeferred
async def test_body_limit(site: RpcSite) -> None:
    """A body of more than 1 MiB is not looked at; one of just 1 MiB is."""
    body = json.dumps(LIST).encode().ljust(LONGEST_BODY)

    assert 200 == (await exchange(site, body))[0]
    assert 413 == (await exchange(site, body + b" "))[0]


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", ""])
@pytest_twisted.ensureDeferred
async def test_other_content_types(site: RpcSite, content_type: str) -> None:
    """What another site's form could make a browser send is refused."""
    assert 415 == (await exchange(site, json.dumps(LIST).encode(), content_type=content_type))[0]


@pytest_twisted.ensureDeferred
async def test_get(site: RpcSite) -> None:
    """Calls are posted."""
    assert 405 == (await exchange(site, b"", "GET"))[0]


@pytest_twisted.ensureDeferred
async def test_unexpected_error(site: RpcSite, clean_reactor: list[Failure], monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of the program tells the caller an incident id and no more; the log has the rest."""

    async def broken(_self: FakeBuilder, _build_id: str) -> None:
        raise ZeroDivisionError("private matter")

    monkeypatch.setattr(FakeBuilder, "get", broken)
    params = {"BuildId": "0" * 26}
    error = (await answer(site, {**LIST, "method": "Imaginator.GetBuild", "params": params}))["error"]

    assert -32603 == error["code"]
    assert error["data"]["Incident"] in error["message"]
    assert "private" not in json.dumps(error)
    assert [ZeroDivisionError] == [failure.type for failure in clean_reactor]
    clean_reactor.clear()


@pytest_twisted.ensureDeferred
async def test_secrets_are_redacted(site: RpcSite) -> None:
    """Results and errors both pass the redaction."""
    record = site.builder.add(BuildRequest(stream_name="base/web"), requester=SECRET)
    site.builder.fail(record.build_id, BuildFailure(-32005, "build-failed", f"no {SECRET}", {"Output": [SECRET]}))
    params = {"BuildId": record.build_id}
    message = await answer(site, {**LIST, "method": "Imaginator.GetBuild", "params": params})
    unknown = await answer(site, {**LIST, "method": SECRET})

    assert SECRET not in json.dumps([message, unknown])
    assert "no $SECRET" == message["result"]["Failure"]["Message"]


@pytest_twisted.ensureDeferred
async def test_client_that_goes_away(site: RpcSite) -> None:
    """The build of a caller who left goes on, and its end disturbs nobody."""
    credentials = site.certify(Wish("root-user"))
    context = ssl.create_default_context(cafile=credentials.authority)
    context.load_cert_chain(str(credentials.certificate), credentials.key)
    params = {"StreamName": "base/web", "ExpiresIn": 3600}
    body = json.dumps({**LIST, "method": "Imaginator.BuildImage", "params": params})

    def post() -> http.client.HTTPSConnection:
        connection = http.client.HTTPSConnection("127.0.0.1", site.port, context=context)
        connection.request("POST", "/jsonrpc", body, {"Content-Type": "application/json"})
        return connection

    connection = await deferToThread(post)
    while not site.builder.records:
        await deferToThread(lambda: None)
    connection.close()
    await answer(site, LIST)
    (record,) = site.builder.records.values()

    assert "queued" == record.state
    site.builder.fail(record.build_id, BuildFailure(-32005, "build-failed", "broke"))
    assert await answer(site, LIST) == NO_IMAGES


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('[]{}\\"ab'), inner, max_size=3),
    max_leaves=20,
)


def depths(value: object) -> Iterator[int]:
    """How deeply each part of a JSON value is nested."""
    yield 0
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    for part in parts:
        yield from (depth + 1 for depth in depths(part))
    if isinstance(value, dict | list) and not value:
        yield 1


@given(json_values)
def test_decoding_agrees_with_the_standard_library(value: object) -> None:
    """Brackets within strings are no nesting."""
    assert value == decode_message(json.dumps(value).encode())
    assert max(depths(value)) <= DEEPEST_NESTING


@pytest.mark.parametrize("opening", ["[", '{"a":', '{"]":'])
def test_nesting_limit(opening: str) -> None:
    """The deepest nesting is let through, one more is not."""
    closing = "]" if opening == "[" else "}"

    def nested(depth: int) -> bytes:
        inner = opening[0] + closing
        return (opening * (depth - 1) + inner + closing * (depth - 1)).encode()

    assert msgspec.json.decode(nested(DEEPEST_NESTING)) == decode_message(nested(DEEPEST_NESTING))
    with pytest.raises(Fault, match="deeper than 32"):
        decode_message(nested(DEEPEST_NESTING + 1))


@given(st.binary(max_size=40))
def test_noise(body: bytes) -> None:
    """Whatever the bytes, the answer is a value or a fault."""
    try:
        decode_message(body)
    except Fault as fault:
        assert fault.code == -32700  # noqa: PT017
