"""Requests that no honest client makes: each is answered with a status, or the connection is closed."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from imaginator.rpc.jsonrpc import LARGEST_BATCH
from tests.abuse.normal import Idle, unharmed
from tests.abuse.rude import Rude, offer, outlived, rest
from tests.support.live import Live

pytestmark = pytest.mark.integration

HOST = b"Host: localhost\r\n"
GET = b"GET /healthz HTTP/1.1\r\n"
JSON_POST = b"POST /jsonrpc HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"
XML_POST = b"POST /RPC2 HTTP/1.1\r\n" + HOST + b"Content-Type: text/xml\r\n"
CHUNKED = JSON_POST + b"Transfer-Encoding: chunked\r\n\r\n"
MEGABYTE = bytes(1 << 20)

BAD, FINE, TLS_ALERT = b"HTTP/1.1 400 ", b"HTTP/1.1 200 ", b"\x15"

ODD: dict[str, tuple[bytes, bytes]] = {
    "no request at all": (b"NONSENSE\r\n\r\n", BAD),
    "HTTP/0.9": (b"GET /healthz\r\n\r\n", BAD),
    "HTTP/1.0": (b"GET /healthz HTTP/1.0\r\n\r\n", b"HTTP/1.0 200 "),
    "HTTP/2.0 as a version": (b"GET /healthz HTTP/2.0\r\n\r\n", BAD),
    "the preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9), BAD),
    "an upgrade to HTTP/2": (GET + HOST + b"Upgrade: h2c\r\nConnection: Upgrade, close\r\n\r\n", FINE),
    "CONNECT": (b"CONNECT elsewhere:443 HTTP/1.1\r\nConnection: close\r\n" + HOST + b"\r\n", b"HTTP/1.0 404 "),
    "another host's address": (b"GET http://elsewhere/ HTTP/1.1\r\nConnection: close\r\n\r\n", b"HTTP/1.1 404 "),
    "an address that is no text": (b"GET /%ff%00 HTTP/1.1\r\nConnection: close\r\n\r\n", BAD),
    "a host that is no text": (GET + b"Host: \xff\r\nConnection: close\r\n\r\n", BAD),
    "a method that is no text": (b"\xff\xfe /healthz HTTP/1.1\r\n" + HOST + b"\r\n", BAD),
    "a long request line": (b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n", BAD),
    "a long header": (GET + b"X: " + b"x" * 100_000 + b"\r\n\r\n", BAD),
    "many headers": (GET + b"X: y\r\n" * 100_000 + b"\r\n", BAD),
    "many cookies": (GET + b"Connection: close\r\nCookie: " + b"a=b;" * 3000 + b"\r\n\r\n", FINE),
    "a blank before a colon": (GET + b"X : y\r\n\r\n", BAD),
    "nothing but NUL": (bytes(1000) + b"\r\n\r\n", BAD),
    "a negative length": (JSON_POST + b"Content-Length: -1\r\n\r\n", BAD),
    "a length of 5000 digits": (JSON_POST + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n", BAD),
    "two lengths": (JSON_POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef", BAD),
    "a length and chunks": (JSON_POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", BAD),
    "an unknown encoding": (JSON_POST + b"Transfer-Encoding: gzip\r\n\r\n", BAD),
    "a chunk without a size": (CHUNKED + b"zz\r\n", BAD),
    "a negative chunk": (CHUNKED + b"-1\r\n", BAD),
    "a chunk's size without end": (CHUNKED + b"0" * 100_000, BAD),
    "a chunk's extension without end": (CHUNKED + b"1;" + b"x" * 100_000, BAD),
    "a chunk longer than it says": (CHUNKED + b"1\r\nabc\r\n", BAD),
    "trailers without end": (CHUNKED + b"0\r\n" + b"X: y\r\n" * 100_000, BAD),
    "no TLS after its first byte": (b"\x16\x03\x01" + b"\xff" * 1000, TLS_ALERT),
    "empty TLS records": (b"\x16\x03\x01\x00\x00" * 1000, TLS_ALERT),
}
"""What is sent over plain TCP, and how the answer begins."""


def test_odd_requests(live: Live, idle: Idle) -> None:
    """Each has its answer, and the connection ends."""
    found = {}
    with unharmed(live, f"{len(ODD)} odd requests", idle), Rude(live) as rude:
        for name, (request, _) in ODD.items():
            one = rude.plain()
            offer(one, request)
            found[name] = rest(one)

    wrong = {name: found[name][:100] for name, (_, begin) in ODD.items() if not found[name].startswith(begin)}
    assert {} == wrong


def bodies() -> Iterator[tuple[bytes, int, bytes]]:
    """Heads of requests with too long bodies, and how often what is sent after them."""
    for head in (JSON_POST, XML_POST):
        yield head + b"Content-Length: 104857600\r\n\r\n", 100, MEGABYTE
        yield head + b"Transfer-Encoding: chunked\r\n\r\n", 100, b"100000\r\n" + MEGABYTE + b"\r\n"
        yield head + b"Content-Length: 10\r\n\r\n", 100, MEGABYTE
    yield GET + b"Content-Length: 104857600\r\n\r\n", 100, MEGABYTE


def test_long_bodies(live: Live, idle: Idle) -> None:
    """A hundred megabytes, announced, in chunks, and beyond what was announced: read no further than they may be."""
    answers = []
    with unharmed(live, "bodies of 100 MB", idle), Rude(live) as rude:
        for head, times, block in bodies():
            for one in (rude.plain(), rude.tls()):
                offer(one, head)
                for _ in range(times):
                    offer(one, block)
                answers.append(rest(one))
    told = {answer.split(b" ")[1] for answer in answers if answer.startswith(b"HTTP/")}

    assert told <= {b"200", b"400", b"403", b"413"}


def posted(rude: Rude, head: bytes, body: bytes) -> bytes:
    """The answer to a request of a caller with a certificate."""
    one = rude.tls()
    offer(one, head + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    answer = rest(one)
    one.close()
    return answer.partition(b"\r\n\r\n")[2]


LONGEST = 1 << 20
CALL = b'{"jsonrpc":"2.0","id":1,"method":"Imaginator.ListBuilds","params":%s}'
LARGE_JSON = {
    "deep arrays": b"[" * (LONGEST // 2) + b"]" * (LONGEST // 2),
    "deep objects": b'{"a":' * (LONGEST // 6) + b"1" + b"}" * (LONGEST // 6),
    "deep parameters": CALL % (b"[" * 400_000 + b"]" * 400_000),
    "many empty arrays": b"[" + b"[]," * (LONGEST // 3 - 2) + b"[]]",
    "a number of a million digits": CALL % (b'{"Limit":' + b"9" * (LONGEST - 200) + b"}"),
    "a string of escapes": CALL % (b'{"StreamName":"' + b"\\\\" * (LONGEST // 2 - 100) + b'"}'),
    "a string that does not end": CALL[:60] + b'"' + b'\\"' * (LONGEST // 2 - 100),
    "many unknown fields": CALL % json.dumps({str(number): 0 for number in range(80_000)}).encode(),
    "a batch of a hundred": b"[" + b",".join([CALL % b'{"Limit":1000}'] * LARGEST_BATCH) + b"]",
    "a batch of a hundred discoveries": b"["
    + b",".join([b'{"jsonrpc":"2.0","id":1,"method":"rpc.discover"}'] * LARGEST_BATCH)
    + b"]",
    "a batch of ten thousand": b"[" + b",".join([CALL % b"{}"] * 10_000) + b"]",
    "not UTF-8": CALL % b'{"StreamName":"\xff\xfe"}',
}

ENTITIES = b"".join(b'<!ENTITY e%d "%s">' % (number + 1, b"&e%d;" % number * 10) for number in range(9))
METHOD = b"<methodCall><methodName>Imaginator.ListBuilds</methodName><params>%s</params></methodCall>"
LARGE_XML = {
    "a billion laughs": b'<!DOCTYPE x [<!ENTITY e0 "ha">' + ENTITIES + b"]>" + METHOD % b"&e9;",
    "one long entity many times": b'<!DOCTYPE x [<!ENTITY e "' + b"x" * 100_000 + b'">]>' + METHOD % (b"&e;" * 10_000),
    "an external entity": b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>' + METHOD % b"&e;",
    "an external document type": b'<!DOCTYPE x SYSTEM "http://127.0.0.1:1/x.dtd">' + METHOD % b"",
    "deep arrays": METHOD % (b"<param><value>" + b"<array><data><value>" * 40_000),
    "many values": METHOD
    % (b"<param><value><array><data>" + b"<value/>" * 120_000 + b"</data></array></value></param>"),
    "many integers": METHOD
    % (b"<param><value><array><data>" + b"<value><i4>1</i4></value>" * 40_000 + b"</data></array></value></param>"),
    "many parameters": METHOD % (b"<param><value/></param>" * 40_000),
    "many attributes": b"<methodCall " + b" ".join(b'a%d=""' % number for number in range(80_000)) + b"/>",
    "no XML": b"\x00" * 1000,
    "another encoding": b'<?xml version="1.0" encoding="utf-7"?>' + METHOD % b"",
}


def test_large_calls(live: Live, idle: Idle) -> None:
    """Bodies within the limit that want much of a parser: each is answered in its own language."""
    with unharmed(live, f"{len(LARGE_JSON) + len(LARGE_XML)} large calls", idle), Rude(live) as rude:
        documents = {name: posted(rude, JSON_POST, body) for name, body in LARGE_JSON.items()}
        faults = {name: posted(rude, XML_POST, body) for name, body in LARGE_XML.items()}

    for name, answer in documents.items():
        assert errors(answer) <= {-32700, -32600, -32602}, (name, answer[:1000])
    assert [] == [name for name, answer in faults.items() if b"<fault>" not in answer]


def errors(answer: bytes) -> set[int]:
    """The codes of the errors that an answer tells."""
    message = json.loads(answer)
    parts = message if isinstance(message, list) else [message]
    return {part["error"]["code"] for part in parts if "error" in part}


PIPELINED = 500
DEAF = 100
PAGE = b"GET /static/style.css HTTP/1.1\r\n"


def test_pipelining(live: Live, idle: Idle) -> None:
    """Hundreds of requests in one write are answered in turn; for who reads nothing no more than a few are."""
    with (
        unharmed(live, f"{PIPELINED} requests in one write, {DEAF} times by clients that read nothing", idle),
        Rude(live) as rude,
    ):
        for _ in range(DEAF):
            offer(rude.plain(receive=4096), (PAGE + HOST + b"\r\n") * PIPELINED)
        for one in (rude.plain(), rude.tls()):
            offer(one, (GET + HOST + b"\r\n") * (PIPELINED - 1) + GET + HOST + b"Connection: close\r\n\r\n")

            assert PIPELINED == rest(one).count(b"HTTP/1.1 200 OK")


def test_half_closed(live: Live, idle: Idle) -> None:
    """Who says that no more will come, in the middle of a request or after it, is gone."""
    with unharmed(live, "100 half-closed connections", idle), Rude(live) as rude:
        halves = []
        for text in (b"", b"G", GET, GET + HOST + b"\r\n", CHUNKED + b"10\r\n") * 20:
            one = rude.plain()
            one.sendall(text)
            one.shutdown(1)
            halves.append(one)
        outlived(halves)
