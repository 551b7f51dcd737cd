"""Server-sent events: a build from its queue to its end, resumed anywhere, at no cost for those who do not read."""

from __future__ import annotations

import json
from typing import Any, NamedTuple, cast

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from imaginator.model.build import BuildFailure, BuildRecord, BuildRequest, Stage
from imaginator.schedule.builder import Builder
from imaginator.web.app import Web
from imaginator.web.events import QUIET, Everything, OneBuild, Position, Redact, position_of
from imaginator.web.site import BoundedSite
from imaginator.web.streaming import BLOCK, Source
from imaginator.web.view import WebParts
from tests.support.fake_builder import FakeBuilder
from tests.support.raw_http import served
from tests.support.real_reactor import reactor
from tests.support.visitor import one_worker
from tests.web.test_streaming import chunks

HOSTILE = b"10%\r20%\nid: 7\n\ndata: <script>\xff\n"


class Event(NamedTuple):
    """What a browser makes of an event."""

    kind: str
    last_id: str
    data: Any


def parsed(text: bytes) -> list[Event]:
    """The events of a stream, as the standard says; comments are none."""
    found = []
    for block in text.decode().replace("\r\n", "\n").replace("\r", "\n").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if line and not line.startswith(":"))
        if fields:
            found.append(Event(fields["event"], fields["id"], json.loads(fields["data"])))
    return found


def one(
    builder: FakeBuilder, record: BuildRecord, last: str = "", clock: Any = reactor, redact: Redact = str
) -> Source:
    """A source of one build's events."""
    return OneBuild(cast(Builder, builder), clock, redact, record, position_of(last))


def everything(builder: FakeBuilder, last: str = "") -> Source:
    """A source of all builds' events."""
    return Everything(cast(Builder, builder), reactor, str, position_of(last))


async def to_the_end(source: Source) -> list[Event]:
    """All events of a build that has ended."""
    text = b""
    while block := await source():
        text += block
    return parsed(text)


@pytest_twisted.ensureDeferred
async def test_a_build_from_queue_to_end() -> None:
    """Its states, its log with whatever it holds, and the end, in their order."""
    builder = FakeBuilder({"a/b": []})
    record = builder.add(BuildRequest(stream_name="a/b"))
    source = one(builder, record)
    (queued,) = parsed(await source())
    builder.start(record.build_id, Stage.SCRIPTS, HOSTILE)
    running, log = parsed(await source())
    builder.fail(record.build_id, BuildFailure(-32005, "build-failed", "no\r\n\r\ndata: x"))
    failed, end = await to_the_end(source)

    assert ["build", "build", "log", "build", "end"] == [event.kind for event in (queued, running, log, failed, end)]
    assert [("queued", None), ("running", "scripts")] == [(e.data["State"], e.data["Stage"]) for e in (queued, running)]
    assert {"Offset": 0, "Text": HOSTILE.decode(errors="replace")} == log.data
    assert "no\r\n\r\ndata: x" == failed.data["Message"]


@pytest_twisted.ensureDeferred
async def test_resumed() -> None:
    """From any event on: the build as it is, and the rest of the log; another attempt's log from its beginning."""
    builder = FakeBuilder({"a/b": []})
    record = builder.add(BuildRequest(stream_name="a/b"))
    builder.start(record.build_id, log=b"one\ntwo\n")
    first = parsed(await one(builder, record)())
    builder.logs[record.build_id].append(b"three\nhalf")
    ended = builder.fail(record.build_id, BuildFailure(-32005, "build-failed", "no"))
    resumed = await to_the_end(one(builder, ended, first[-1].last_id))
    anew = await to_the_end(one(builder, ended, "7-3"))

    assert "1-8" == first[-1].last_id
    assert ["three\n", "half"] == [event.data["Text"] for event in resumed if event.kind == "log"]
    assert "one\ntwo\nthree\nhalf" == "".join(event.data["Text"] for event in anew if event.kind == "log")


@pytest_twisted.ensureDeferred
async def test_secrets() -> None:
    """What a build failed of is redacted."""
    builder = FakeBuilder({"a/b": []})
    record = builder.add(BuildRequest(stream_name="a/b"))
    ended = builder.fail(record.build_id, BuildFailure(-32005, "build-failed", "correct-horse"))
    told = await to_the_end(one(builder, ended, redact=lambda text: text.replace("correct-horse", "$SECRET")))

    assert "$SECRET" == told[0].data["Message"]


def test_silence() -> None:
    """Where nothing happens, or only to other builds, a comment is sent now and then."""
    clock, builder = Clock(), FakeBuilder({"a/b": []})
    record, other = (builder.add(BuildRequest(stream_name="a/b")) for _ in range(2))
    builder.start(record.build_id)
    source = one(builder, record, clock=clock)
    told: list[bytes] = []

    async def read() -> None:
        told.append(await source())

    for _ in range(2):
        Deferred.fromCoroutine(read())
        builder.start(other.build_id, Stage.TESTS)
        clock.advance(QUIET)

    assert [1, 0] == [len(parsed(block)) for block in told]
    assert [] == clock.getDelayedCalls()


@pytest_twisted.ensureDeferred
async def test_everything() -> None:
    """Those that have not ended, then every change; and on from where one was."""
    builder = FakeBuilder({"a/b": []})
    old, new = (builder.add(BuildRequest(stream_name="a/b")) for _ in range(2))
    builder.start(old.build_id)
    source = everything(builder)
    known = parsed(await source())
    builder.fail(old.build_id, BuildFailure(-32005, "build-failed", "no"))
    builder.start(new.build_id)
    changes = parsed(await source())
    resumed = parsed(await everything(builder, known[-1].last_id)())
    elsewhere = parsed(await everything(builder, "0123abcd-1")())

    assert {old.build_id, new.build_id} == {event.data["BuildId"] for event in known}
    assert [(old.build_id, "failed"), (new.build_id, "running")] == [
        (event.data["BuildId"], event.data["State"]) for event in changes
    ]
    assert changes == resumed
    assert [new.build_id] == [event.data["BuildId"] for event in elsewhere]


@pytest_twisted.ensureDeferred
async def test_over_http() -> None:
    """A client that does not read costs a block; when it has gone, nobody waits on its behalf."""
    builder = FakeBuilder({"a/b": []})
    record = builder.add(BuildRequest(stream_name="a/b"))
    builder.start(record.build_id)
    log = builder.logs[record.build_id]
    site = BoundedSite(Web(WebParts(cast("Builder", builder), one_worker(), str, reactor)).resource(), reactor)
    async with served(site) as connect:
        client = await connect()
        client.ask(f"/events?{record.build_id}")
        await client.until(lambda data: chunks(data).count(b"\n\n") == 1)
        log.append(b"x" * 79 + b"\n")
        data = await client.until(lambda data: chunks(data).count(b"\n\n") == 2)
        client.pause()
        log.append((b"x" * 79 + b"\n") * 800_000)
        while len(log.reads) < 3:
            await turn()
        client.transport.abortConnection()
        while log.readers or builder.events.watchers:
            await turn()

    assert b"content-type: text/event-stream; charset=utf-8" in data.lower()
    assert len(log.reads) * BLOCK < len(log.data)


@pytest.mark.parametrize("of_one", [True, False], ids=["one build", "all builds"])
@pytest_twisted.ensureDeferred
async def test_going_away(of_one: bool) -> None:
    """A client that goes while there is nothing to tell is forgotten without a word in the log."""
    builder = FakeBuilder({"a/b": []})
    record = builder.add(BuildRequest(stream_name="a/b"))
    builder.start(record.build_id)
    site = BoundedSite(Web(WebParts(cast("Builder", builder), one_worker(), str, reactor)).resource(), reactor)
    async with served(site) as connect:
        client = await connect()
        client.ask(f"/events?{record.build_id}" if of_one else "/events")
        await client.until(lambda data: b"\n\n" in chunks(data))
        while not builder.events.watchers:
            await turn()
        client.transport.abortConnection()
        while builder.events.watchers:
            await turn()


async def turn() -> None:
    """One turn of the reactor."""
    done: Deferred[None] = Deferred()
    reactor.callLater(0, done.callback, None)
    await done


def test_positions() -> None:
    """Ids are positions; anything else is none."""
    assert Position("1", 20) == position_of("1-20")
    assert [None] * 5 == [position_of(text) for text in ("", "1", "-1", "x-1", "1-" + "9" * 30)]
