"""Builds at work: sources, time limits, and the daemon's end."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import cast

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock, deferLater

from imaginator.build.buildlog import BuildLog
from imaginator.build.job import SourceWish
from imaginator.model.build import BuildRecord, State
from imaginator.model.errors import BuildFailed
from imaginator.store.history import BuildQuery
from tests.support.building import ALICE, HOUR, LIMITS, ROOT, Building, add_image, building, request
from tests.support.real_reactor import reactor
from tests.support.store_parts import START

ONE = LIMITS._replace(concurrent=1)


def message(record: BuildRecord) -> str:
    """The sentence of a build that failed."""
    assert record.failure is not None
    return record.failure.message


async def waiting(system: Building) -> tuple[str, str]:
    """A build of web that waits for its source, base, which is at work; both ids."""
    system.engine.sources["web"] = "base"
    parent = await system.submit("web", ALICE, max_source_age=HOUR, variables={"A": "b"})
    await system.engine.begun("base")
    return parent, system.engine.jobs[-1].build_id


@pytest_twisted.ensureDeferred
async def test_a_good_source_image_is_taken(tmp_path: Path) -> None:
    """Nothing is built first where there is an image that is young enough."""
    async with building(tmp_path) as system:
        system.engine.sources["web"] = "base"
        image = await add_image(system.store, "base", system.now() - timedelta(minutes=59))
        await system.submit("web", max_source_age=HOUR)
        await system.engine.begun("web")

        assert [image] == system.engine.found
        assert 1 == len(system.engine.jobs)


@pytest_twisted.ensureDeferred
async def test_a_missing_source_is_built_first(tmp_path: Path) -> None:
    """The build that waits holds no slot, and goes on with the image that was made for it."""
    async with building(tmp_path, ONE) as system:
        parent, child = await waiting(system)
        while_waiting = [(await system.builder.get(build)).state for build in (parent, child)]
        system.engine.finish("base")
        source = await system.builder.wait(child)
        await system.engine.begun("web")
        system.engine.finish("web")
        ended = await system.builder.wait(parent)

        assert [State.WAITING, State.RUNNING] == while_waiting
        assert ["", parent] == [source.requester, source.parent]
        assert (HOUR, HOUR) == (source.request.expires_in, source.request.max_source_age)
        assert [source.image_name] == [image.name for image in system.engine.found]
        assert State.SUCCEEDED == ended.state
        assert b"no source image: base: building it first\n" in await (await system.builder.log(parent)).read(0, 1000)


@pytest_twisted.ensureDeferred
async def test_what_a_source_build_gets(tmp_path: Path) -> None:
    """Branch and variables of the manifest, the request's times, else an hour to live; no permission is asked for."""
    async with building(tmp_path) as system:
        system.engine.sources["web"] = SourceWish("boot", "stable", {}, {"A": "b"})
        asked = await system.submit("web", ALICE, expires_in=2 * HOUR, max_source_age=3 * HOUR)
        system.engine.sources["db"] = SourceWish("base", "", {}, {})
        automatic = ensureDeferred(system.builder.rebuild(request("db", expires_in=0)))
        await system.engine.begun("boot", "base")
        requests = {job.stream_name: job.request for job in system.engine.jobs}

        times = {"expires_in": 2 * HOUR, "max_source_age": 3 * HOUR}
        assert request("boot", git_branch="stable", variables={"A": "b"}, **times) == requests["boot"]
        assert HOUR == requests["base"].expires_in
        for stream in ("boot", "base"):
            system.engine.finish(stream)
        await system.engine.begun("web", "db")
        for stream in ("web", "db"):
            system.engine.finish(stream)
        assert [State.SUCCEEDED] * 2 == [(await system.builder.wait(asked)).state, (await automatic).state]


@pytest_twisted.ensureDeferred
async def test_a_source_that_was_built_without_the_wanted_tags(tmp_path: Path) -> None:
    """It is not taken: the sentence names the tag. One that has them is."""
    async with building(tmp_path) as system:
        system.engine.sources["web"] = SourceWish("base", "", {"colour": ("blue", "green")}, {})
        messages = []
        for colour in ("red", "green"):
            system.engine.tags["base"] = {"colour": colour}
            build = await system.submit("web")
            await system.engine.begun("base")
            system.engine.finish("base")
            if colour == "green":
                await system.engine.begun("web")
                system.engine.finish("web")
            messages.append((await system.builder.wait(build)).failure)

        assert messages[0] is not None
        assert "its tag colour is 'red': expected blue or green" in messages[0].message
        assert messages[1] is None


@pytest_twisted.ensureDeferred
async def test_a_too_old_source_is_built_again(tmp_path: Path) -> None:
    """The log says how old it is."""
    async with building(tmp_path) as system:
        await add_image(system.store, "base", system.now() - timedelta(hours=2))
        parent, _ = await waiting(system)
        log = await system.builder.current_log("web")

        assert b"too old source image: base (2h)" in await log.read(0, 1000)
        await system.builder.cancel(parent, ROOT)


@pytest_twisted.ensureDeferred
async def test_a_chain_of_sources_with_one_slot(tmp_path: Path) -> None:
    """Each waits for the next; all end well."""
    async with building(tmp_path, ONE) as system:
        system.engine.sources.update(web="base", base="deep")
        parent = await system.submit("web")
        for stream in ("deep", "base", "web"):
            await system.engine.begun(stream)
            system.engine.finish(stream)

        assert State.SUCCEEDED == (await system.builder.wait(parent)).state


def automatic(system: Building, stream: str) -> Deferred[BuildRecord]:
    """The final record of a build that the daemon wants for itself."""
    return ensureDeferred(system.builder.rebuild(request(stream)))


def precedence(system: Building) -> set[str]:
    """The streams whose unfinished builds are for people."""
    status = system.builder.status()
    return {one.request.stream_name for one in (*status.running, *status.queued) if one.for_people}


async def until(condition: Callable[[], object]) -> None:
    """Return when something has come true."""
    while not condition():
        await deferLater(reactor, 0.001)


async def begun_in_turn(system: Building, *streams: str) -> None:
    """Let builds begin and end, one after the other."""
    for stream in streams:
        await system.engine.begun(stream)
        system.engine.finish(stream)


@pytest_twisted.ensureDeferred
async def test_builds_share_their_sources(tmp_path: Path) -> None:
    """Three levels: each source is built once for all who wait for it, before them."""
    async with building(tmp_path) as system:
        system.engine.sources.update(web="base", db="base", base="deep")
        builds = [await system.submit(stream) for stream in ("web", "db")]
        await begun_in_turn(system, "deep", "base")
        await system.engine.begun("web", "db")
        for stream in ("web", "db"):
            system.engine.finish(stream)

        assert [State.SUCCEEDED] * 2 == [(await system.builder.wait(build)).state for build in builds]
        assert ["base", "db", "deep", "web"] == sorted(job.stream_name for job in system.engine.jobs)


@pytest.mark.parametrize("cancelled", [False, True])
@pytest_twisted.ensureDeferred
async def test_the_end_of_a_shared_source(tmp_path: Path, cancelled: bool) -> None:
    """A source that fails or is cancelled ends all who wait for it, along the whole chain, with its reason."""
    async with building(tmp_path) as system:
        system.engine.sources.update(web="base", db="base", base="deep")
        builds = [await system.submit(stream) for stream in ("web", "db")]
        await system.engine.begun("deep")
        if cancelled:
            await system.builder.cancel(system.engine.jobs[-1].build_id, ROOT)
        else:
            system.engine.fail("deep", BuildFailed("no space"))
        records = [await system.builder.wait(build) for build in builds]

        reason = "cancelled by root" if cancelled else "no space"
        assert [f"source image base: source image deep: {reason}"] * 2 == [message(record) for record in records]
        assert [State.CANCELLED if cancelled else State.FAILED] * 2 == [record.state for record in records]


@pytest_twisted.ensureDeferred
async def test_a_source_takes_the_place_of_who_waits_for_it(tmp_path: Path) -> None:
    """Builds that were submitted before it, but after that one, come later."""
    async with building(tmp_path, ONE) as system:
        system.engine.sources.update(web="base", db="base")
        system.obstacle = "nothing is to start yet"
        for stream in ("web", "db", "deep"):
            await system.submit(stream)
        system.obstacle = ""
        system.builder.go_on()
        await begun_in_turn(system, "base", "web", "db", "deep")

        assert ["web", "base", "db", "deep"] == [job.stream_name for job in system.engine.jobs]


@pytest_twisted.ensureDeferred
async def test_a_users_limit_does_not_hold_for_sources(tmp_path: Path) -> None:
    """A build may wait for another one of its own user, who may have one at a time."""
    async with building(tmp_path) as system:
        system.engine.sources["web"] = "base"
        parent, source = await system.submit("web", ALICE), await system.submit("base", ALICE)
        await begun_in_turn(system, "base", "web")

        assert State.SUCCEEDED == (await system.builder.wait(parent)).state
        assert parent == (await system.history.get(source)).parent


@pytest_twisted.ensureDeferred
async def test_a_person_waits_for_what_the_daemon_builds_for_itself(tmp_path: Path) -> None:
    """From then on it is a person's, as is all that it waits for itself; what else waits for it is not."""
    async with building(tmp_path) as system:
        system.engine.sources.update(web="base", db="base", base="deep")
        rebuilt = automatic(system, "web")
        await system.engine.begun("deep")
        before = precedence(system)
        mine = await system.submit("db")
        await until(lambda: "deep" in precedence(system))
        after = precedence(system)
        await begun_in_turn(system, "deep", "base", "web", "db")

        assert set() == before
        assert {"db", "base", "deep"} == after
        assert [State.SUCCEEDED] * 2 == [(await rebuilt).state, (await system.builder.wait(mine)).state]
        assert (await system.builder.builds(BuildQuery(stream_name="deep")))[0].for_people


@pytest_twisted.ensureDeferred
async def test_a_person_wants_a_stream_that_the_daemon_builds_for_itself(tmp_path: Path) -> None:
    """The build that must end first is a person's, too, with what it waits for."""
    async with building(tmp_path) as system:
        system.engine.sources["web"] = "base"
        rebuilt = automatic(system, "web")
        await system.engine.begun("base")
        mine = await system.submit("web", git_branch="next")

        assert {"web", "base"} == precedence(system)
        await begun_in_turn(system, "base", "web", "web")
        assert [State.SUCCEEDED] * 2 == [(await rebuilt).state, (await system.builder.wait(mine)).state]


@pytest_twisted.ensureDeferred
async def test_a_person_joins_an_automatic_source_build(tmp_path: Path) -> None:
    """A queued one that is the same becomes theirs as well, and its image lives for as long as they asked."""
    async with building(tmp_path) as system:
        system.engine.sources["web"] = "base"
        first = await system.submit("base", git_branch="next")
        await system.engine.begun("base")
        rebuilt = automatic(system, "web")
        await until(lambda: State.WAITING in [one.state for one in system.builder.status().running])
        (source,) = system.builder.status().queued
        mine = await system.submit("base", expires_in=2 * HOUR)
        joined = await system.history.get(mine)
        await begun_in_turn(system, "base", "base", "web")

        assert (source.build_id, False, True) == (mine, source.for_people, joined.for_people)
        assert ("", 2 * HOUR) == (joined.requester, joined.request.expires_in)
        records = [await system.builder.wait(first), await system.builder.wait(mine), await rebuilt]
        assert [State.SUCCEEDED] * 3 == [record.state for record in records]


@pytest_twisted.ensureDeferred
async def test_builds_that_wait_are_found(tmp_path: Path) -> None:
    """The state is written down while it lasts, and with the slot that the build gets again it ends."""
    async with building(tmp_path) as system:
        parent, child = await waiting(system)
        found = await system.builder.builds(BuildQuery(states=(State.WAITING,)))
        left = await system.history.get(parent)
        system.engine.finish("base")
        await system.engine.begun("web")

        assert [parent] == [record.build_id for record in found]
        assert State.WAITING is left.state
        assert [State.RUNNING, State.SUCCEEDED] == [(await system.history.get(one)).state for one in (parent, child)]


@pytest.mark.parametrize(
    ("sources", "cycle"),
    [
        ({"web": "web"}, "build cycle: web -> web"),
        ({"web": "base", "base": "deep", "deep": "web"}, "build cycle: deep -> web -> base -> deep"),
        ({"web": "base", "base": "deep", "deep": "base"}, "build cycle: deep -> base -> deep"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_cycle_is_printed(tmp_path: Path, sources: dict[str, str], cycle: str) -> None:
    """Streams that build on each other fail, with the whole cycle in the sentence."""
    async with building(tmp_path) as system:
        system.engine.sources.update(sources)
        record = await system.builder.wait(await system.submit("web"))

        assert State.FAILED == record.state
        assert cycle in message(record)


@pytest_twisted.ensureDeferred
async def test_a_cycle_of_builds_that_were_asked_for_apart(tmp_path: Path) -> None:
    """Two builds that find each other's stream already being built do not wait for ever."""
    async with building(tmp_path) as system:
        system.engine.sources.update(web="base", base="web")
        builds = [await system.submit("web"), await system.submit("base")]
        records = [await system.builder.wait(build) for build in builds]

        assert State.FAILED in [record.state for record in records]
        assert any("build cycle: " in message(record) for record in records if record.failure)


@pytest_twisted.ensureDeferred
async def test_cancelling_a_build_that_waits(tmp_path: Path) -> None:
    """It ends at once, though its source holds the only slot and is built on."""
    async with building(tmp_path, ONE) as system:
        parent, child = await waiting(system)
        record = await system.builder.cancel(parent, ALICE)
        system.engine.finish("base")
        source = await system.builder.wait(child)

        assert [State.CANCELLED, State.SUCCEEDED] == [record.state, source.state]


@pytest_twisted.ensureDeferred
async def test_a_source_that_may_not_be_built(tmp_path: Path) -> None:
    """A caller who asked for no further builds learns which image is needed."""
    async with building(tmp_path) as system:
        system.engine.sources["web"] = "base"
        missing = await system.builder.wait(await system.submit(disable_recursive_build=True))
        await add_image(system.store, "base", system.now() - timedelta(hours=2))
        old = await system.builder.wait(await system.submit(disable_recursive_build=True, max_source_age=HOUR))

        assert missing.failure is not None
        assert (-32006, "no source image: base") == (missing.failure.code, message(missing))
        assert {"NeedSourceImage": True, "SourceImage": "base"} == missing.failure.data
        assert "too old source image: base (2h)" == message(old)


@pytest_twisted.ensureDeferred
async def test_a_source_that_nobody_configured(tmp_path: Path) -> None:
    """Its image is taken while there is one; else the sentence has its name."""
    async with building(tmp_path) as system:
        system.engine.sources["web"] = "gone"
        record = await system.builder.wait(await system.submit())
        await add_image(system.store, "gone", system.now())
        await system.submit()
        await system.engine.begun("web")

        assert "no source image: gone: unknown stream: gone" == message(record)


@pytest.mark.parametrize(("asked", "seconds", "sentence"), [(0.0, 24 * HOUR, "1d"), (90.0, 90.0, "1m30s")])
@pytest_twisted.ensureDeferred
async def test_maximum_duration(tmp_path: Path, asked: float, seconds: float, sentence: str) -> None:
    """A build that takes longer than it may, or than its caller wants, is ended."""
    clock = Clock()
    clock.advance(START.timestamp())
    async with building(tmp_path, clock=clock) as system:
        build = await system.submit(maximum_build_duration=asked)
        clock.advance(0)
        await system.engine.begun("web")
        clock.advance(seconds - 1)
        before = system.engine.working
        clock.advance(1)
        record = await system.builder.wait(build)

        assert {"web"} == before
        assert record.failure is not None
        assert (State.FAILED, -32008) == (record.state, record.failure.code)
        assert f"the build took longer than {sentence}" == message(record)
        assert START + timedelta(seconds=seconds) == record.finished_at
    assert not clock.getDelayedCalls()


@pytest_twisted.ensureDeferred
async def test_the_end_of_the_daemon_keeps_the_queue(tmp_path: Path) -> None:
    """What ran, waited or was queued runs after the next start; the attempt does not count."""
    async with building(tmp_path, ONE) as before:
        parent, child = await waiting(before)
        queued = await before.submit("deep")
    cleaned = set(before.engine.cleaned)

    async with building(tmp_path) as after:
        await after.engine.begun("web", "base", "deep")
        records = [await after.builder.get(build) for build in (parent, child, queued)]

    assert {"web", "base"} == cleaned
    assert [1, 1, 1] == [record.attempt for record in records]


@pytest_twisted.ensureDeferred
async def test_a_log_that_cannot_be_kept(tmp_path: Path) -> None:
    """The build ends well all the same."""
    async with building(tmp_path) as system:
        build = await system.submit()
        await system.engine.begun("web")
        (tmp_path / "archive" / "web").write_text("in the way")
        system.engine.finish("web")

        assert State.SUCCEEDED == (await system.builder.wait(build)).state


@pytest_twisted.ensureDeferred
async def test_logs_of_many_builds_keep_to_their_quota(tmp_path: Path) -> None:
    """While they grow, each alone, and in the archive all together; the latest stay."""
    quota = 20_000
    async with building(tmp_path, log_quota=quota) as system:
        ids = []
        for number in range(8):
            ids.append(await system.submit("web"))
            await system.engine.begun("web")
            log = cast(BuildLog, await system.builder.current_log("web"))
            log.log(b"some words of output\n" * (2000 if number == 4 else 300))
            grown = [path.stat().st_size for path in system.logs.iterdir()]
            system.engine.finish("web")
            await system.builder.wait(ids[-1])
            kept = [file.stat().st_size for file in (tmp_path / "archive").rglob("*") if file.is_file()]

            assert sum(grown) < quota + 200
            assert sum(kept) < (2 * quota if number == 4 else quota)
        logs = [path.parent.name for path in (tmp_path / "archive").rglob("buildLog")]
        names = [(await system.builder.get(build)).image_name.rpartition("/")[2] for build in ids]

        assert sorted(logs) == names[-len(logs) :]
        assert 2 <= len(logs) < 4
        assert [] == list(system.logs.iterdir())
