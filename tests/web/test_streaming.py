"""Long answers over real sockets: they follow, they wait for the client, they leave nothing behind."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from imaginator.build.buildlog import BuildLog
from imaginator.model.build import BuildRequest
from imaginator.model.redaction import Redactor
from imaginator.schedule.builder import Builder
from imaginator.store.workers import Workers
from imaginator.web.app import Web
from imaginator.web.site import BoundedSite
from imaginator.web.streaming import BLOCK, ThreadBlocks
from imaginator.web.view import WebParts
from tests.support.fake_builder import FakeBuilder, FakeLog
from tests.support.raw_http import RawClient, served
from tests.support.real_reactor import reactor
from tests.support.visitor import one_worker


class Following:
    """A running build and somebody who may read its log."""

    def __init__(self, connect: Callable[[], Deferred[RawClient]], builder: FakeBuilder) -> None:
        self.build_id = builder.add(BuildRequest(stream_name="a/b")).build_id
        builder.start(self.build_id)
        self.log: FakeLog = builder.logs[self.build_id]
        self._connect = connect

    async def ask(self, options: str = "&follow") -> RawClient:
        """A client that asked for the log."""
        client = await self._connect()
        client.ask(f"/showCurrentBuildLog?a/b{options}")
        return client


@asynccontextmanager
async def following() -> AsyncIterator[Following]:
    """The pages on a real port, with a build that runs."""
    builder = FakeBuilder({"a/b": []})
    site = BoundedSite(Web(WebParts(cast("Builder", builder), one_worker(), str, reactor)).resource(), reactor)
    async with served(site) as connect:
        yield Following(connect, builder)


def chunks(data: bytes | bytearray) -> bytes:
    """The body of a chunked answer, as far as it is whole."""
    body, rest = b"", bytes(data).partition(b"\r\n\r\n")[2]
    while b"\r\n" in rest:
        size, _, rest = rest.partition(b"\r\n")
        body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return body


@pytest_twisted.ensureDeferred
async def test_a_log_is_followed_until_its_build_is_finished() -> None:
    """What is there comes at once, what is written comes as it is written, and the end ends the answer."""
    async with following() as build:
        build.log.append(b"one\n")
        client = await build.ask()
        await client.until(lambda data: chunks(data) == b"one\n")
        build.log.append(b"two\n")
        await client.until(lambda data: chunks(data) == b"one\ntwo\n")
        build.log.append(b"three\n")
        build.log.finish()
        data = await client.until(lambda data: data.endswith(b"0\r\n\r\n"))

        assert b"one\ntwo\nthree\n" == chunks(data)
        assert b"content-type: text/plain; charset=utf-8" in data.lower()


@pytest_twisted.ensureDeferred
async def test_without_follow_the_answer_ends_where_the_log_is() -> None:
    """A log can be read from an offset, as far as it goes now, while its build runs on."""
    async with following() as build:
        build.log.append(b"0123456789")
        client = await build.ask("&offset=4")

        assert b"456789" == chunks(await client.until(lambda data: data.endswith(b"0\r\n\r\n")))


@pytest_twisted.ensureDeferred
async def test_a_client_that_does_not_read_is_waited_for() -> None:
    """Of a long log no more is read than the sockets take; the rest comes when the client reads again."""
    async with following() as build:
        build.log.append(bytes(64 * 1024 * 1024))
        build.log.finish()
        client = await build.ask()
        await client.until(lambda data: len(data) > BLOCK)
        client.pause()
        await _quiet(build.log)

        assert len(build.log.reads) < 512

        client.resume()
        await client.until(lambda data: data.endswith(b"0\r\n\r\n"))
        assert len(build.log.data) < len(client.data)


async def _quiet(log: FakeLog) -> None:
    """Return when the server has stopped reading: nothing more in a thousand turns of the reactor."""
    turns, reads = 0, -1
    while turns < 1000:
        turns, reads = (turns + 1, reads) if len(log.reads) == reads else (0, len(log.reads))
        turn: Deferred[None] = Deferred()
        reactor.callLater(0, turn.callback, None)
        await turn


@pytest_twisted.ensureDeferred
async def test_a_client_that_goes_away_is_forgotten() -> None:
    """Nobody waits for a build on behalf of a client that has disconnected, and the build does not mind."""
    async with following() as build:
        build.log.append(b"one\n")
        client = await build.ask()
        await client.until(lambda data: chunks(data) == b"one\n")
        assert 1 == build.log.readers
        client.transport.abortConnection()
        await client.lost
        await _quiet(build.log)

        assert 0 == build.log.readers
        build.log.append(b"two\n")


@pytest_twisted.ensureDeferred
async def test_the_log_of_a_real_build_is_followed(tmp_path: Path) -> None:
    """What a build log writes to its file reaches the reader, less the secrets, and its end ends the answer."""
    builder = FakeBuilder({"a/b": []})
    site = BoundedSite(Web(WebParts(cast("Builder", builder), one_worker(), str, reactor)).resource(), reactor)
    async with served(site) as connect:
        build = Following(connect, builder)
        log = BuildLog(tmp_path / "log", Redactor({"PASSWORD": "hunter2hunter2"}), reactor)
        builder.logs[build.build_id] = log  # type: ignore[assignment]
        log.note("one")
        client = await build.ask()
        await client.until(lambda data: chunks(data) == b"one\n")
        log.log(b"two hunter2hunter2\n")
        log.finish()
        data = await client.until(lambda data: data.endswith(b"0\r\n\r\n"))

        assert b"one\ntwo $PASSWORD\n" == chunks(data)


class BrokenLog(FakeLog):
    """A log whose disk fails after the first block."""

    async def read(self, offset: int, limit: int) -> bytes:
        """Read, or fail."""
        if offset:
            raise OSError("the disk is gone")
        return await super().read(offset, limit)


@pytest_twisted.ensureDeferred
async def test_an_answer_that_breaks_is_not_taken_for_whole(clean_reactor: list[Failure]) -> None:
    """When a log cannot be read on, the connection is cut instead of the answer being ended."""
    builder = FakeBuilder({"a/b": []})
    site = BoundedSite(Web(WebParts(cast("Builder", builder), one_worker(), str, reactor)).resource(), reactor)
    async with served(site) as connect:
        build = Following(connect, builder)
        builder.logs[build.build_id] = BrokenLog(b"one\n")
        client = await build.ask()
        await client.lost

        assert not client.data.endswith(b"0\r\n\r\n")
        assert [OSError] == [failure.type for failure in clean_reactor]
        clean_reactor.clear()


class Direct:
    """Workers without threads."""

    def run(self, function: Callable[[], bytes]) -> Deferred[bytes]:
        """Call now."""
        return succeed(function())


@pytest_twisted.ensureDeferred
async def test_one_block_is_made_ahead() -> None:
    """Small parts are sent together; no more is made than what comes next; the end is an empty block."""
    made = []

    def parts() -> Generator[bytes]:
        for part in (b"1", b"2" * BLOCK, b"3" * BLOCK, b"4"):
            made.append(part[:1])
            yield part

    source = ThreadBlocks(parts(), cast(Workers, Direct()))

    assert [] == made
    assert b"1" + b"2" * BLOCK == await source()
    assert [b"1", b"2", b"3"] == made
    assert [b"3" * BLOCK, b"4", b"", b""] == [await source(), await source(), await source(), await source()]


@pytest_twisted.ensureDeferred
async def test_an_error_comes_after_the_blocks_before_it() -> None:
    """What broke the block that is made ahead is told to whoever asks for that block, and to nobody else."""

    def parts() -> Generator[bytes]:
        yield b"1" * BLOCK
        raise OSError("the disk is gone")

    source = ThreadBlocks(parts(), cast(Workers, Direct()))

    assert b"1" * BLOCK == await source()
    with pytest.raises(OSError, match="the disk is gone"):
        await source()
    assert b"1" * BLOCK == await ThreadBlocks(parts(), cast(Workers, Direct()))()


@pytest_twisted.ensureDeferred
async def test_what_is_given_up_is_ended_at_once() -> None:
    """The generator's files are closed although it has more to give."""
    ended = []

    def parts() -> Generator[bytes]:
        try:
            while True:
                yield b"1" * BLOCK
        finally:
            ended.append(True)

    source = ThreadBlocks(parts(), cast(Workers, Direct()))
    await source()
    await source.close()

    assert [True] == ended


@pytest_twisted.ensureDeferred
async def test_a_part_of_a_log() -> None:
    """From an offset to another one, also while the build runs on."""
    async with following() as build:
        build.log.append(b"0123456789")
        client = await build.ask("&offset=2&until=5&follow")

        assert b"234" == chunks(await client.until(lambda data: data.endswith(b"0\r\n\r\n")))
