"""The graph of all streams, over real directories, repositories, servers and the real configuration and catalogue."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred, gatherResults
from twisted.internet.task import Clock, deferLater
from twisted.python.failure import Failure
from twisted.web.server import Site

from imaginator.build.glance import SETTLED
from imaginator.model.errors import BuildFailed
from imaginator.schedule.dependencies import Snapshot
from tests.support.building import add_image, building
from tests.support.git_server import Backend, rude, served
from tests.support.ports import free_port
from tests.support.real_reactor import reactor
from tests.support.world import World

SECRET = "correct-horse"
"""Of the variable TOKEN."""


@pytest_twisted.async_yield_fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A world without streams but the bootstrap stream ``boot``."""
    async with building(tmp_path) as system:
        yield World(tmp_path, system)
        await system.dependencies.stopService()


def read(snapshot: Snapshot, what: str) -> int:
    """How many manifests were read of what the fetch log calls so."""
    (line,) = (line for line in snapshot.fetch_log.splitlines() if line.startswith(what))
    words = line.replace(",", "").split()
    return int(words[words.index("read") - (2 if "manifests read" in line else 1)])


@pytest_twisted.ensureDeferred
async def test_everything_at_once(world: World) -> None:
    """Bootstraps, plain directories and repositories; what is listed is rebuilt, and strangers cannot be built."""
    world.plain("web", "db")
    world.git("app", "lost")
    world.write({"web": "boot", "db": "web"})
    world.commit({"app": "db", "lost": "nobody"})
    graph = await world.graph(ImageStreamsToAutoRebuild=["web", "gone"])

    assert {"web": "boot", "db": "web", "app": "db", "lost": "nobody"} == graph.sources
    assert {"gone": "unknown stream: gone"} == graph.errors
    assert {"boot"} == graph.roots
    assert {"boot", "web", "gone"} == graph.rebuilt
    assert {"nobody"} == graph.unbuildable


@pytest_twisted.ensureDeferred
async def test_a_source_with_an_image_needs_no_stream(world: World) -> None:
    """It is there to be built upon, whatever the configuration says."""
    world.plain("web")
    world.write({"web": "elsewhere"})
    before = await world.graph()
    await add_image(world.system.store, "elsewhere", world.system.now())
    after = await world.graph()

    assert {"elsewhere"} == before.unbuildable
    assert not after.unbuildable


@pytest_twisted.ensureDeferred
async def test_streams_of_patterns(world: World) -> None:
    """They are there that have an image, are listed or named as a source, and go when that has ended."""
    world.patterns = {"user/.*": {"ManifestUrl": f"dir://{world.manifests}", "ManifestDirectory": "$IMAGE_STREAM"}}
    world.plain("web")
    world.write({"web": "user/a", "user/a": "user/b", "user/b": "boot", "user/listed": "boot", "user/built": "boot"})
    await add_image(world.system.store, "user/built", world.system.now())
    found = await world.graph(ImageStreamsToAutoRebuild=["user/listed"])
    world.write({"web": "boot"})
    later = await world.graph()

    assert {
        "web": "user/a",
        "user/a": "user/b",
        "user/b": "boot",
        "user/listed": "boot",
        "user/built": "boot",
    } == found.sources
    assert {"user/a", "user/b", "user/listed", "user/built"} == found.patterned
    assert {"web": "boot", "user/built": "boot"} == later.sources


@pytest_twisted.ensureDeferred
async def test_a_name_of_two_patterns(world: World) -> None:
    """Nobody knows which of them it is."""
    place = {"ManifestUrl": f"dir://{world.manifests}"}
    world.patterns = {"user/.*": place, ".*/a": place}
    world.plain("web")
    world.write({"web": "user/a"})
    graph = await world.graph()

    assert {"web": "user/a"} == graph.sources
    assert "matches two patterns" in graph.errors["user/a"]
    assert {"user/a"} == graph.unbuildable


@pytest_twisted.ensureDeferred
async def test_variables(world: World) -> None:
    """A source is what a build without wishes of its own would have; secrets are for locations alone."""
    where = world.manifests / SECRET
    where.mkdir()
    (where / "manifest").write_text('{"SourceImage": "base-$OWN/$IMAGE_STREAM_LEAF_NAME/$ARCH$MANIFEST_GIT_COMMIT_ID"}')
    (world.manifests / "manifest").write_text('{"SourceImage": "x$TOKEN"}')
    world.streams["a/web"] = {
        "ManifestUrl": f"dir://{world.manifests}/$TOKEN",
        "Variables": {"OWN": "${IMAGE_STREAM[/:1]}"},
    }
    world.streams["b"] = {"ManifestUrl": f"dir://{world.manifests}"}
    world.streams["c"] = {"ManifestUrl": f"dir://{world.manifests}", "Variables": {"OWN": "$TOKEN"}}
    world.streams["d"] = {"ManifestUrl": f"dir://{world.manifests}/$TOKEN/gone"}
    world.streams["git/web"] = {"ManifestUrl": f"file://{world.repository.directory}", "ManifestDirectory": "web"}
    commit = world.commit({"web": "base/$MANIFEST_GIT_COMMIT_ID"})
    found = await world.look()

    assert {"a/web": "base-a/web/amd64", "git/web": f"base/{commit}"} == found.graph.sources
    errors = found.graph.errors
    assert "SourceImage: $TOKEN is a secret" in errors["b"]
    assert "Variables['OWN']: $TOKEN is a secret" in errors["c"]
    assert f"dir://{world.manifests}/$TOKEN/gone: no such directory" == errors["d"]
    assert SECRET not in found.fetch_log + str(errors)


@pytest_twisted.ensureDeferred
async def test_a_secret_of_a_repository(world: World) -> None:
    """It lets the daemon in, and is seen nowhere; another one is tried when it is in force."""
    world.commit({"web": "boot", "db": "$TOKEN"})
    async with served(Backend(world.folder, SECRET)) as address:
        world.git("web", "db", url=f"http://$TOKEN:$TOKEN@{address}/at/repository/.git")
        found = await world.look()
        world.system.files.variables.write_text("TOKEN=wrong-horse\n")
        later = await world.look()

    assert {"web": "boot"} == found.graph.sources
    assert "SourceImage: $TOKEN is a secret" in found.graph.errors["db"]
    assert f"http://$TOKEN:$TOKEN@{address}/at/repository/.git: commit " in found.fetch_log
    assert "Authentication failed" in later.graph.errors["web"]
    for snapshot in (found, later):
        shown = snapshot.fetch_log + str(snapshot.graph.problems) + snapshot.graph.digraph()
        assert not [secret for secret in (SECRET, "wrong-horse") if secret in shown]


HOSTILE = {
    "good": '{"SourceImage": "boot"}',
    "itself": '{"SourceImage": "itself"}',
    "one": '{"SourceImage": "two"}',
    "two": '{"SourceImage": "three"}',
    "three": '{"SourceImage": "one"}',
    "large": '{"SourceImage": "boot", "Other": "' + "x" * (10 << 20) + '"}',
    "malformed": '{"SourceImage": ',
    "none": "{}",
    "strange": '{"SourceImage": "../boot"}',
    "missing": '{"SourceImage": "nobody/knows"}',
}


@pytest.mark.parametrize("kind", ["plain", "git"])
@pytest_twisted.ensureDeferred
async def test_hostile_manifests(world: World, kind: str) -> None:
    """Each has its own sentence, circles are named, and what is good stays so."""
    top = world.manifests if kind == "plain" else world.repository.directory
    for name, text in HOSTILE.items():
        (top / name).mkdir(exist_ok=True)
        (top / name / "manifest").write_text(text)
    (top / "binary").mkdir()
    (top / "binary" / "manifest").write_bytes(b'{"SourceImage": "\xff"}')
    (top / "linked").mkdir()
    (top / "linked" / "manifest").symlink_to("../good/manifest")
    (top / "directory" / "manifest").mkdir(parents=True)
    (top / "directory" / "manifest" / "x").touch()
    world.repository.commit({"more": ""})
    names = [*HOSTILE, "binary", "linked", "directory", "gone"]
    (world.plain if kind == "plain" else world.git)(*names)
    graph = await world.graph()

    circle = {"one": "two", "two": "three", "three": "one", "itself": "itself"}
    assert {"good": "boot", "missing": "nobody/knows", **circle} == graph.sources
    assert (("itself",), ("one", "two", "three")) == graph.cycles
    assert {"itself", "one", "two", "three", "nobody/knows"} == graph.unbuildable
    expected = {
        "large": "large/manifest: 104857", "malformed": "malformed/manifest: line 1, column 17: Expecting value",
        "none": "missing required field SourceImage", "strange": "strange/manifest: SourceImage '../boot': ",
        "binary": "binary/manifest: line 1: not UTF-8", "linked": "linked/manifest: a symbolic link",
        "directory": "directory/manifest: not a regular file", "gone": "no directory 'gone'",
    }  # fmt: skip
    assert expected.keys() == graph.errors.keys()
    for name, words in expected.items():
        assert words in graph.errors[name]


@pytest_twisted.ensureDeferred
async def test_only_the_references_are_asked_for_again(world: World) -> None:
    """One look and one fetch of commit and contents each, then one look; of a new commit only what is new of it."""
    names = [f"s{number}" for number in range(20)]
    world.commit(dict.fromkeys(names, "boot"))
    backend = Backend(world.folder)
    counts = []
    async with served(backend) as address:
        world.git(*names, url=f"http://{address}/at/repository/.git")
        await world.configure()
        for sources in ({}, {}, {"s3": "s4"}):
            if sources:
                world.commit(sources)
            before = len(backend.asked)
            found = await world.dependencies.look()
            counts.append((len(backend.asked) - before, read(found, "http")))

    assert "s4" == found.graph.sources["s3"]
    look, fetch = 2, 2  # the advertisement, and what is asked then
    assert [(look + 2 * fetch, 20), (look, 0), (look + 2 * fetch, 20)] == counts


@pytest_twisted.ensureDeferred
async def test_repositories_that_cannot_be_reached(world: World) -> None:
    """Their streams say so, until they can be."""
    world.commit({"app": "boot", "far": "boot"})
    world.plain("web")
    world.write({"web": "boot"})
    port = free_port()
    world.git("far", url=f"http://127.0.0.1:{port}/at/repository/.git")
    world.git("app")
    before = await world.graph()
    listening = reactor.listenTCP(port, Site(Backend(world.folder)), interface="127.0.0.1")
    after = await world.graph()
    await listening.stopListening()
    lost = await world.graph()

    assert {"web": "boot", "app": "boot"} == before.sources == lost.sources
    assert {"far"} == before.errors.keys() == lost.errors.keys()
    assert f"http://127.0.0.1:{port}/at/repository/.git: git ls-remote: " in before.errors["far"]
    assert {"web": "boot", "app": "boot", "far": "boot"} == after.sources


@pytest_twisted.ensureDeferred
async def test_plain_manifests_are_read_when_they_change(world: World) -> None:
    """And only those that have."""
    names = [f"s{number}" for number in range(10)]
    world.plain(*names)
    world.write(dict.fromkeys(names, "boot"))
    await world.configure()
    while read(await world.dependencies.look(), "plain"):
        await pause(SETTLED / 1e9 / 10)
    world.write({"s3": "s4"})
    (world.manifests / "s5" / "manifest").unlink()
    found = await world.dependencies.look()

    assert 2 == read(found, "plain")
    assert "s4" == found.graph.sources["s3"]
    assert {"s5"} == found.graph.errors.keys()


@pytest_twisted.ensureDeferred
async def test_a_directory_that_comes_back(world: World) -> None:
    """Its manifest is the very same file then, and counts again."""
    world.plain("web")
    world.write({"web": "boot"})
    await world.configure()
    while read(await world.dependencies.look(), "plain"):
        await pause(SETTLED / 1e9 / 10)
    (world.manifests / "web").rename(world.manifests / "away")
    gone = await world.dependencies.graph()
    (world.manifests / "away").rename(world.manifests / "web")

    assert {"web"} == gone.errors.keys()
    assert {"web": "boot"} == (await world.dependencies.graph()).sources


@pytest_twisted.ensureDeferred
async def test_sources_that_are_found_on_the_way_ask_for_no_references_again(world: World) -> None:
    """Streams of a pattern are looked at after those that name them, at the same commit."""
    chain = {"web": "user/a", "user/a": "user/b", "user/b": "boot"}
    world.commit(chain)
    backend = Backend(world.folder)
    async with served(backend) as address:
        place = {"ManifestUrl": f"http://{address}/at/repository/.git", "ManifestDirectory": "$IMAGE_STREAM"}
        world.streams, world.patterns = {"web": place}, {"user/.*": place}
        found = await world.graph()
        before = len(backend.asked)
        await world.graph()

    assert chain == found.sources
    assert 2 == len(backend.asked) - before
    assert 2 + 4 * 2 == before  # its references once; the commit, and the contents of three manifests in turn


async def pause(seconds: float) -> None:
    """Let the real time go on."""
    await deferLater(reactor, seconds)


@pytest_twisted.ensureDeferred
async def test_a_reload_drops_what_is_stale(world: World) -> None:
    """Streams that are gone, and sources found elsewhere, however young the graph is."""
    world.plain("web", "db")
    world.write({"web": "boot", "db": "boot", "other": "db"})
    before = await world.graph()
    del world.streams["db"]
    world.plain("web", ManifestDirectory="other")
    await world.configure()
    after = await world.dependencies.graph(max_age=3600)

    assert {"web": "boot", "db": "boot"} == before.sources
    assert {"web": "db"} == after.sources
    assert {"db"} == after.unbuildable


@pytest_twisted.ensureDeferred
async def test_a_young_graph_is_answered_at_once(tmp_path: Path) -> None:
    """An older one is made anew; one without any age is as it is now."""
    clock = Clock()
    async with building(tmp_path, clock=clock) as system:
        world = World(tmp_path, system)
        world.plain("web")
        world.write({"web": "boot"})
        await world.configure()
        sources = []
        for age in (60.0, 60.0, 60.0, 0.0):
            sources.append((await system.dependencies.graph(age)).sources["web"])
            world.write({"web": f"s{len(sources)}"})
            clock.advance(31)

    assert ["boot", "boot", "s2", "s3"] == sources


@pytest_twisted.ensureDeferred
async def test_all_who_ask_meanwhile_share_one_look(world: World) -> None:
    """Whoever goes away takes nothing from the others."""
    world.commit({"web": "boot"})
    backend = Backend(world.folder)
    async with served(backend) as address:
        world.git("web", url=f"http://{address}/at/repository/.git")
        await world.configure()
        asking = [ensureDeferred(world.dependencies.look()) for _ in range(3)]
        asking[0].addErrback(lambda failure: failure.trap(CancelledError))
        asking[0].cancel()
        one, other = await gatherResults(asking[1:])
        asked = list(backend.asked)
        await world.dependencies.look()

    assert one is other
    assert {"web": "boot"} == one.graph.sources
    assert 6 == len(asked)


@pytest_twisted.ensureDeferred
async def test_a_reload_while_somebody_looks(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks after it gets what is in force, not what is found out meanwhile."""
    gates: list[Deferred[frozenset[str]]] = []

    def gated() -> Deferred[frozenset[str]]:
        gates.append(Deferred())
        return gates[-1]

    world.plain("web")
    world.write({"web": "boot", "db": "boot"})
    await world.configure()
    monkeypatch.setattr(world.system.store, "streams", gated)
    before = ensureDeferred(world.dependencies.graph())
    world.plain("db")
    await world.configure()
    after = ensureDeferred(world.dependencies.graph())
    gates[0].callback(frozenset())
    while len(gates) < 2:
        await pause(0.001)
    gates[1].callback(frozenset())

    assert {"web"} == (await before).sources.keys()
    assert {"web", "db"} == (await after).sources.keys()


@pytest_twisted.ensureDeferred
async def test_stopping_ends_what_is_under_way(world: World) -> None:
    """Also where a server never answers; nothing of Git is left."""
    async with rude(resets=False) as address:
        world.git("web", url=f"http://{address}/web.git")
        await world.configure()
        asking = ensureDeferred(world.dependencies.look())
        while not git_commands():
            await pause(0.01)
        await world.dependencies.stopService()
        left = git_commands()
        with pytest.raises(CancelledError):
            await asking

    assert not left


def git_commands() -> list[str]:
    """Commands of ours that ask a server."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[1]) == os.getpid() and fields[0] != "Z":
                    found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
    return [command for command in found if "ls-remote" in command]


@pytest_twisted.ensureDeferred
async def test_an_attempt_that_fails(
    world: World, monkeypatch: pytest.MonkeyPatch, clean_reactor: list[Failure]
) -> None:
    """What was known stays known, with the time of the attempt and that it failed; what was read then is not lost."""

    async def broken() -> frozenset[str]:
        raise sqlite3.OperationalError("disk I/O error")

    world.plain("web")
    world.write({"web": "boot"})
    await world.configure()
    with monkeypatch.context() as patch:
        patch.setattr(world.system.store, "streams", broken)
        with pytest.raises(BuildFailed, match="the dependency graph cannot be made: the daemon's log tells more"):
            await world.dependencies.graph()
    good = await world.dependencies.look()
    world.write({"web": "other"})
    with monkeypatch.context() as patch:
        patch.setattr(world.system.store, "streams", broken)
        failed = await world.dependencies.look()
    after = await world.dependencies.look()
    world.write({"web": "another"})
    await pause(2 * SETTLED / 1e9)  # so that it is not read once more anyway
    with monkeypatch.context() as patch:
        patch.setattr("imaginator.schedule.dependencies._concluded", lambda *_: 1 / 0)
        await world.dependencies.look()
    last = await world.dependencies.look()
    failures = len(clean_reactor)
    clean_reactor.clear()

    assert 3 == failures
    assert {"web": "another"} == last.graph.sources
    assert good.graph is failed.graph
    assert (good.generated_at, "the daemon's log tells more") == (failed.generated_at, failed.attempt_error)
    assert failed.attempted_at is not None
    assert good.attempted_at is not None
    assert failed.attempted_at > good.attempted_at
    assert ({"web": "other"}, "") == (after.graph.sources, after.attempt_error)


@pytest_twisted.ensureDeferred
async def test_circles_are_told_on_the_status_page(world: World) -> None:
    """As of the latest graph, until one has none."""
    world.plain("a", "b")
    world.write({"a": "b", "b": "a"})
    before = world.system.builder.status().errors
    await world.look()
    told = world.system.builder.status().errors
    world.write({"b": "boot"})
    await world.look()

    assert ([], ["build cycle: a -> b -> a"]) == (before, told)
    assert [] == world.system.builder.status().errors


@pytest_twisted.ensureDeferred
async def test_choices(world: World) -> None:
    """Only the chosen part is answered, beside when it was found."""
    world.plain("web", "db", "app")
    world.write({"web": "boot", "db": "web", "app": "boot"})
    whole = await world.look()
    some = await world.dependencies.choose(3600, ["db"], ["web"])

    assert {"web": "boot"} == some.graph.sources
    assert whole.generated_at == some.generated_at
