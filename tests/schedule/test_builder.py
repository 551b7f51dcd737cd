"""The builder's face: asking for builds, joining, waiting, cancelling, reading logs."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred, gatherResults
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from imaginator.model.build import State
from imaginator.model.errors import BuildFailed, NotFound, NotPermitted, Refused
from imaginator.model.identity import Caller
from imaginator.model.image import Origin
from imaginator.model.pauses import Disabled, Pause
from imaginator.store.history import BuildQuery
from tests.support.building import ALICE, HOUR, LIMITS, ROOT, add_image, building, request
from tests.support.store_parts import START

BOB = Caller("bob")


@pytest_twisted.ensureDeferred
async def test_a_build_from_request_to_image(tmp_path: Path) -> None:
    """The record tells the whole story, and history has it too."""
    async with building(tmp_path) as system:
        record = await system.builder.submit(request(git_branch="next"), ALICE)
        await system.engine.begun("web")
        running = await system.builder.get(record.build_id)
        system.engine.finish("web")
        ended = await system.builder.wait(record.build_id)
        (job,) = system.engine.jobs

        assert (State.QUEUED, 0, "alice") == (record.state, record.attempt, record.requester)
        assert (State.RUNNING, "fetch", 1) == (running.state, running.stage, running.attempt)
        assert (State.SUCCEEDED, None, ("fetch",)) == (ended.state, ended.stage, tuple(t.stage for t in ended.stages))
        assert (await system.store.get(ended.image_name)).name == ended.image_name
        assert ended == await system.history.get(record.build_id) == await system.builder.wait(record.build_id)
        assert ("web", "alice", HOUR, {"TOKEN": "correct-horse"}) == (
            job.stream_name,
            job.requester,
            job.expires_in,
            job.secrets,
        )


@pytest_twisted.ensureDeferred
async def test_refused_requests(tmp_path: Path) -> None:
    """The sentences are the original's, and nothing is queued."""
    async with building(tmp_path) as system:
        with pytest.raises(NotFound, match="^unknown stream: nothing$"):
            await system.submit("nothing")
        with pytest.raises(NotPermitted, match="^no permission to build: web$"):
            await system.submit("web", Caller("eve"))
        with pytest.raises(NotPermitted, match="^no permission to build: boot$"):
            await system.submit("boot", ALICE)
        with pytest.raises(Refused, match="^minimum expiration duration is 15m$"):
            await system.submit("web", ALICE, expires_in=1)

        assert [] == await system.builder.builds(BuildQuery())


@pytest_twisted.ensureDeferred
async def test_disabled_requests(tmp_path: Path) -> None:
    """New ones are refused, in the original's words, to everybody; what is queued goes on, as automatic builds do."""
    clock = Clock()
    clock.advance(START.timestamp())
    async with building(tmp_path, LIMITS._replace(concurrent=1), clock) as system:
        queued = [await system.submit(stream) for stream in ("db", "deep")]
        await system.builder.disable(Disabled.BUILD_REQUESTS, 90 * 60, ROOT)
        clock.advance(0)
        for caller in (ALICE, ROOT):
            with pytest.raises(Refused, match=r"^builds disabled until 23 Nov 2026 01:08:05 UTC \(for 1h30m\)$"):
                await system.submit("web", caller)
        automatic = ensureDeferred(system.builder.rebuild(request("base")))
        for stream in ("db", "deep", "base"):
            await system.engine.begun(stream)
            system.engine.finish(stream)
        records = [await system.builder.wait(build) for build in queued]
        clock.advance(90 * 60)
        await system.submit("web", ALICE)

        assert [State.SUCCEEDED] * 3 == [record.state for record in [*records, await automatic]]


@pytest_twisted.ensureDeferred
async def test_pauses_survive_a_restart(tmp_path: Path) -> None:
    """They are shown with who ordered them until they end, and can be lifted."""
    async with building(tmp_path) as before:
        until = await before.builder.disable(Disabled.BUILD_REQUESTS, HOUR, ALICE)
        await before.builder.disable(Disabled.AUTO_BUILDS, HOUR, ROOT)
        assert await before.builder.disable(Disabled.AUTO_BUILDS, 0, ROOT) is None
    assert until is not None

    async with building(tmp_path) as after:
        assert [Pause(Disabled.BUILD_REQUESTS, until, "alice")] == after.builder.status().pauses
        assert None is await after.builder.disable(Disabled.BUILD_REQUESTS, 0, ALICE)
        await after.submit()
        await after.engine.begun("web")


@pytest.mark.parametrize(
    ("what", "longest", "sentence"),
    [
        (Disabled.AUTO_BUILDS, 4 * HOUR, "automatic builds can be disabled for at most 4h"),
        (Disabled.BUILD_REQUESTS, 24 * HOUR, "build requests can be disabled for at most 1d"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_pauses_that_are_too_long(tmp_path: Path, what: Disabled, longest: float, sentence: str) -> None:
    """Four intervals of automatic builds, a day of requests; nothing changes then."""
    async with building(tmp_path) as system:
        until = await system.builder.disable(what, longest, ROOT)
        with pytest.raises(Refused, match=f"^{sentence}$"):
            await system.builder.disable(what, longest + 1, ROOT)

        assert [until] == [pause.until for pause in system.builder.status().pauses]


@pytest_twisted.ensureDeferred
async def test_busy(tmp_path: Path) -> None:
    """Whoever does not want to wait is refused where the build would have to, and leaves nothing."""
    async with building(tmp_path, LIMITS._replace(concurrent=2)) as system:
        first = await system.submit("web", ALICE, fail_if_busy=True)
        await system.engine.begun("web")
        for stream, caller in (("web", ROOT), ("db", ALICE)):
            with pytest.raises(Refused, match=f"^busy: a build of {stream} would have to wait$"):
                await system.submit(stream, caller, fail_if_busy=True)
        await system.submit("db", BOB, fail_if_busy=True)
        with pytest.raises(Refused):
            await system.submit("base", fail_if_busy=True)

        assert 2 == len(await system.builder.builds(BuildQuery()))
        assert not (await system.history.get(first)).request.fail_if_busy


@pytest_twisted.ensureDeferred
async def test_places_in_the_queue(tmp_path: Path) -> None:
    """A record tells its place, wherever it is asked for; the disk does not have it."""
    async with building(tmp_path, LIMITS._replace(concurrent=1)) as system:
        await system.submit("db")
        await system.engine.begun("db")
        first, second = await system.submit("web"), await system.builder.submit(request("base"), ROOT)

        assert 2 == second.place == (await system.builder.get(second.build_id)).place
        assert [2, 1, 0] == [record.place for record in await system.builder.builds(BuildQuery())]
        assert 0 == (await system.history.get(first)).place


@pytest_twisted.ensureDeferred
async def test_two_cancel_at_once(tmp_path: Path) -> None:
    """Both are told, and the build is listed once."""
    async with building(tmp_path, LIMITS._replace(concurrent=1)) as system:
        await system.submit("db")
        build = await system.submit()
        records = await gatherResults([ensureDeferred(system.builder.cancel(build, ROOT)) for _ in range(2)])

        assert [State.CANCELLED] * 2 == [record.state for record in records]
        assert 1 == len(system.builder.status().failed)


@pytest_twisted.ensureDeferred
async def test_an_end_is_told_when_it_is_on_disk(tmp_path: Path) -> None:
    """Meanwhile a withdrawn build is still queued for those who ask, but does not start."""
    async with building(tmp_path, LIMITS._replace(concurrent=1)) as system:
        await system.submit("db")
        await system.engine.begun("db")
        build = await system.submit()
        cancelled = ensureDeferred(system.builder.cancel(build, ROOT))
        meanwhile = await system.builder.get(build)
        system.engine.finish("db")
        await cancelled

        assert State.QUEUED is meanwhile.state
        assert State.CANCELLED is (await system.builder.get(build)).state
        assert ["db"] == [job.stream_name for job in system.engine.jobs]


@pytest_twisted.ensureDeferred
async def test_a_stream_that_is_configured_while_somebody_asks(tmp_path: Path) -> None:
    """An unknown name makes the configuration be read again first."""
    async with building(tmp_path) as system:
        system.files.write_streams(["fresh"])
        await system.submit("fresh")
        await system.engine.begun("fresh")
        system.engine.finish("fresh")


@pytest_twisted.ensureDeferred
async def test_identical_requests_join(tmp_path: Path) -> None:
    """A queued build is joined, and its image lives for the longer of the times asked for."""
    async with building(tmp_path, LIMITS._replace(concurrent=1)) as system:
        await system.submit("db")
        first = await system.submit(expires_in=HOUR)
        second = await system.submit(expires_in=3 * HOUR, caller=ALICE)
        third = await system.submit(expires_in=2 * HOUR)
        other = await system.submit(git_branch="next")
        await system.engine.begun("db")
        system.engine.finish("db")
        await system.engine.begun("web")

        assert first == second == third != other
        assert 3 * HOUR == system.engine.jobs[-1].expires_in
        assert 3 * HOUR == (await system.history.get(first)).request.expires_in


@pytest_twisted.ensureDeferred
async def test_one_build_of_a_stream_at_a_time(tmp_path: Path) -> None:
    """The second one starts when the first has ended; other streams do not wait."""
    async with building(tmp_path) as system:
        first = await system.submit()
        second = await system.submit(git_branch="next")
        await system.submit("db")
        await system.engine.begun("web", "db")
        alone = [job.build_id for job in system.engine.jobs if job.stream_name == "web"]
        system.engine.finish("web")
        await system.builder.wait(first)
        await system.engine.begun("web")

        assert [first] == alone
        assert second == system.engine.jobs[-1].build_id


@pytest_twisted.ensureDeferred
async def test_limit_of_the_daemon(tmp_path: Path) -> None:
    """No more builds run than the flags allow."""
    async with building(tmp_path, LIMITS._replace(concurrent=2)) as system:
        for stream in ("web", "db", "base"):
            await system.submit(stream)
        await system.engine.begun("web", "db")
        queued = [record.request.stream_name for record in system.builder.status().queued]
        system.engine.finish("db")
        await system.engine.begun("base")

        assert ["base"] == queued
        assert {"web", "base"} == system.engine.working


@pytest_twisted.ensureDeferred
async def test_limit_of_a_user(tmp_path: Path) -> None:
    """A user's second build waits for the first, another user's does not."""
    async with building(tmp_path) as system:
        await system.submit("web", ALICE)
        await system.submit("db", ALICE)
        await system.submit("base", BOB)
        await system.engine.begun("web", "base")
        before = system.engine.working
        system.engine.finish("web")
        await system.engine.begun("db")

        assert {"web", "base"} == before


@pytest_twisted.ensureDeferred
async def test_waiters_do_not_own_the_build(tmp_path: Path) -> None:
    """Each gets the record; one that is gone disturbs neither the build nor the others."""
    async with building(tmp_path) as system:
        build = await system.submit()
        gone, *stay = (Deferred.fromCoroutine(system.builder.wait(build)) for _ in range(3))
        gone.addErrback(lambda failure: failure.trap(CancelledError))
        gone.cancel()
        await system.engine.begun("web")
        system.engine.finish("web")
        records = await gatherResults(stay)

        assert [State.SUCCEEDED] * 2 == [record.state for record in records]


@pytest_twisted.ensureDeferred
async def test_a_failure_is_told(tmp_path: Path) -> None:
    """Code, kind and sentence are in the record, the sentence in the log; no secret is in either."""
    async with building(tmp_path) as system:
        build = await system.submit()
        await system.engine.begun("web")
        system.engine.fail("web", BuildFailed("clone of https://correct-horse@git failed"))
        record = await system.builder.wait(build)
        log = await system.builder.log(build)

        assert record.failure is not None
        assert (State.FAILED, -32005, "build-failed") == (record.state, record.failure.code, record.failure.kind)
        assert "clone of https://$TOKEN@git failed" == record.failure.message
        assert b"failed: clone of https://$TOKEN@git failed\n" in await log.read(0, 1000)


@pytest_twisted.ensureDeferred
async def test_an_unforeseen_error(tmp_path: Path, clean_reactor: list[Failure]) -> None:
    """The daemon's log has its traceback, the record a sentence; the daemon goes on."""
    async with building(tmp_path) as system:
        build = await system.submit()
        await system.engine.begun("web")
        system.engine.fail("web", ZeroDivisionError("correct-horse"))
        record = await system.builder.wait(build)
        await system.submit()
        await system.engine.begun("web")

        assert record.failure is not None
        assert record.failure.message.startswith("internal error")
    assert [ZeroDivisionError] == [failure.type for failure in clean_reactor]
    clean_reactor.clear()


@pytest_twisted.ensureDeferred
async def test_cancelling_a_queued_build(tmp_path: Path) -> None:
    """It never starts; who waits for it is told."""
    async with building(tmp_path, LIMITS._replace(concurrent=1)) as system:
        await system.submit("db")
        build = await system.submit("web", ALICE)
        waiting = Deferred.fromCoroutine(system.builder.wait(build))
        record = await system.builder.cancel(build, ALICE)
        await system.engine.begun("db")

        assert record == await waiting == await system.history.get(build)
        assert record.failure is not None
        assert (State.CANCELLED, -32007, "cancelled by alice") == (
            record.state,
            record.failure.code,
            record.failure.message,
        )
        assert ["db"] == [job.stream_name for job in system.engine.jobs]


@pytest_twisted.ensureDeferred
async def test_cancelling_a_running_build(tmp_path: Path) -> None:
    """It has ended, and cleaned up, when the call returns; cancelling it again changes nothing."""
    async with building(tmp_path) as system:
        build = await system.submit()
        await system.engine.begun("web")
        record = await system.builder.cancel(build, ROOT)

        assert State.CANCELLED == record.state
        assert ["web"] == system.engine.cleaned
        assert record == await system.builder.cancel(build, ROOT)


@pytest_twisted.ensureDeferred
async def test_who_may_cancel(tmp_path: Path) -> None:
    """The requester and callers with full access; nobody else, and no build that does not exist."""
    async with building(tmp_path) as system:
        build = await system.submit("web", ALICE)

        with pytest.raises(NotPermitted, match="^no permission to cancel: "):
            await system.builder.cancel(build, BOB)
        with pytest.raises(NotFound):
            await system.builder.cancel("0" * 26, ROOT)
        assert State.CANCELLED == (await system.builder.cancel(build, ALICE)).state


@pytest_twisted.ensureDeferred
async def test_logs_of_a_running_and_an_archived_build(tmp_path: Path) -> None:
    """A reader that began while the build ran reads on after its end; later ones read the archive."""
    async with building(tmp_path) as system:
        build = await system.submit()
        with pytest.raises(NotFound, match="has not begun$"):
            await system.builder.log(build)
        await system.engine.begun("web")
        growing = await system.builder.current_log("web")
        start = await growing.read(0, 1000)
        grown = growing.grown(len(start))
        system.engine.finish("web")
        await grown
        record = await system.builder.wait(build)
        archived = await system.builder.log(record.image_name)
        whole = await archived.read(0, 1000)

        assert b"=== fetch\nbuilding web\n" == start
        assert whole.startswith(start)
        assert whole == await (await system.builder.last_log("web")).read(0, 1000) == await growing.read(0, 1000)
        assert (True, len(whole)) == (archived.finished, archived.size)
        assert [] == list(system.logs.iterdir())


@pytest_twisted.ensureDeferred
async def test_logs_that_are_not_there(tmp_path: Path) -> None:
    """Each kind says what there is none of."""
    async with building(tmp_path) as system:
        with pytest.raises(NotFound, match="^no build log of: web/2026-11-22:23:38:05$"):
            await system.builder.log("web/2026-11-22:23:38:05")
        with pytest.raises(NotFound, match="^no build is running of: web$"):
            await system.builder.current_log("web")
        with pytest.raises(NotFound, match="^no build has ended of: web$"):
            await system.builder.last_log("web")
        build = await system.submit()
        await system.engine.begun("web")
        record = await system.builder.cancel(build, ROOT)
        system.archive.path_of(record).unlink()
        with pytest.raises(NotFound, match="is not kept any more$"):
            await system.builder.log(build)


@pytest_twisted.ensureDeferred
async def test_lists_show_builds_as_they_are_now(tmp_path: Path) -> None:
    """A running build's stage is in the list, which only memory knows."""
    async with building(tmp_path) as system:
        await system.submit()
        await system.engine.begun("web")

        assert ["fetch"] == [record.stage for record in await system.builder.builds(BuildQuery(stream_name="web"))]


@pytest_twisted.ensureDeferred
async def test_status(tmp_path: Path) -> None:
    """Running, queued, failed and good builds, what is wrong without secrets, and the names of all streams."""
    async with building(tmp_path, LIMITS._replace(concurrent=1)) as system:
        good = await system.submit("web")
        await system.engine.begun("web")
        system.engine.finish("web")
        await system.builder.wait(good)
        failed = await system.submit("web")
        await system.builder.cancel(failed, ROOT)
        running, queued = await system.submit("db"), await system.submit("base")
        await system.engine.begun("db")
        system.files.streams.write_text('{"Streams": {"correct-horse": 1}}')
        await system.configuration.reload()
        status = system.builder.status()

        assert [[good], [failed], [running], [queued]] == [
            [record.build_id for record in records]
            for records in (status.good, status.failed, status.running, status.queued)
        ]
        assert ["base", "boot", "db", "deep", "web"] == status.streams
        assert "a store for tests" == status.store
        assert 1 == len(status.errors)
        assert "correct-horse" not in status.errors[0]


@pytest_twisted.ensureDeferred
async def test_owners_change_and_delete_images(tmp_path: Path) -> None:
    """By the rules of admission, in the store; what is gone cannot be found."""
    async with building(tmp_path) as system:
        now = system.now()
        expiry = now + timedelta(days=3)  # the store of these tests has a clock of its own
        image = await add_image(system.store, "web", now, origin=Origin(created_for="alice"), expires_at=expiry)
        until = now + timedelta(hours=2)
        await system.builder.change_expiry(image.name, until, ALICE)
        kept = (await system.store.get(image.name)).expires_at
        for caller, error in ((Caller("bob"), NotPermitted), (ALICE, Refused)):
            with pytest.raises(error):
                await system.builder.change_expiry(image.name, None, caller)
        with pytest.raises(NotPermitted):
            await system.builder.delete_image(image.name, Caller("bob"))
        await system.builder.delete_image(image.name, ALICE)

        assert until == kept
        with pytest.raises(NotFound):
            await system.builder.delete_image(image.name, ALICE)
