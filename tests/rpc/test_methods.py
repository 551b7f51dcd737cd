"""What each method does, through the real client over real TLS."""

from __future__ import annotations

from datetime import timedelta

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.threads import deferToThread

from imaginator.model.build import BuildFailure, BuildRequest, Stage
from imaginator.model.graph import Graph
from imaginator.model.image import Image, Origin, Package
from imaginator.rpc.certificates import Wish
from imaginator.rpc.client import RpcError
from imaginator.rpc.methods import METHODS, Access
from imaginator.schedule.dependencies import Snapshot
from tests.support.fake_builder import EMPTY_ROOT, START, FakeStore
from tests.support.rpc_site import RpcSite

NAME = "base/web/2026-11-22:23:38:05"
IMAGE = Image(
    name=NAME,
    root=EMPTY_ROOT,
    created_at=START,
    expires_at=START + timedelta(hours=1),
    packages=(Package("tree", "2.1", 100),),
    origin=Origin(created_for="alice"),
    links=((b"/a", b"/b"),),
)
SUBMIT = {"StreamName": "base/web", "ExpiresIn": 3600, "Variables": {"A": "b"}}


@pytest.fixture
def alice(site: RpcSite) -> Wish:
    """A caller who may build; the site has one image."""
    assert isinstance(site.builder.store, FakeStore)
    site.builder.store.images[NAME] = IMAGE
    return Wish("alice")


async def queued(site: RpcSite) -> str:
    """The id of the build that somebody has asked for, as soon as it is there."""
    while not site.builder.records:
        await deferToThread(lambda: None)
    return next(iter(site.builder.records))


def begin(site: RpcSite, who: Wish, **parameters: object) -> Deferred[dict[str, str]]:
    """Ask for an image and do not wait."""
    return ensureDeferred(site.call(site.certify(who), "Imaginator.BuildImage", **{**SUBMIT, **parameters}))


@pytest_twisted.ensureDeferred
async def test_build_image(site: RpcSite, alice: Wish) -> None:
    """The call returns when the build is finished, with the image's name."""
    answer = begin(site, alice)
    build_id = await queued(site)
    site.builder.start(build_id)
    site.builder.succeed(build_id, IMAGE)

    assert {"ImageName": NAME, "BuildId": build_id} == await answer
    assert BuildRequest(stream_name="base/web", expires_in=3600, variables={"A": "b"}) == (
        site.builder.records[build_id].request
    )


@pytest_twisted.ensureDeferred
async def test_failed_build(site: RpcSite, alice: Wish) -> None:
    """The error is the build's, with its details and its id."""
    answer = begin(site, alice)
    build_id = await queued(site)
    details: dict[str, object] = {"NeedSourceImage": True, "SourceImage": "base"}
    site.builder.fail(build_id, BuildFailure(-32006, "source-image-needed", "no source image: base", details))

    with pytest.raises(RpcError) as caught:
        await answer

    assert (-32006, "no source image: base") == (caught.value.code, caught.value.message)
    assert {"kind": "source-image-needed", "BuildId": build_id, **details} == caught.value.data


@pytest_twisted.ensureDeferred
async def test_cancelled_build(site: RpcSite, alice: Wish) -> None:
    """Whoever waits for a build that is cancelled learns that."""
    answer = begin(site, alice)
    build_id = await queued(site)
    await site.call(site.certify(Wish("root-user")), "Imaginator.CancelBuild", BuildId=build_id)

    with pytest.raises(RpcError) as caught:
        await answer

    assert (-32007, "cancelled") == (caught.value.code, caught.value.data["kind"])


@pytest_twisted.ensureDeferred
async def test_unknown_stream(site: RpcSite, alice: Wish) -> None:
    """The builder's refusal is the answer."""
    with pytest.raises(RpcError) as caught:
        await begin(site, alice, StreamName="no/such")

    assert (-32003, "unknown stream: no/such") == (caught.value.code, caught.value.message)


@pytest_twisted.ensureDeferred
async def test_get_build(site: RpcSite, alice: Wish) -> None:
    """A running build tells its stage; names are in Pascal case and times are RFC 3339."""
    record = site.builder.add(BuildRequest(stream_name="base/web"))
    site.builder.start(record.build_id, Stage.PACKAGES)

    answer = await site.call(site.certify(alice), "Imaginator.GetBuild", BuildId=record.build_id)

    assert ("running", "packages", 1) == (answer["State"], answer["Stage"], answer["Attempt"])
    assert "2026-11-22T23:38:05Z" == answer["SubmittedAt"]


@pytest_twisted.ensureDeferred
async def test_list_builds(site: RpcSite, alice: Wish) -> None:
    """Filters and the limit reach the builder."""
    old = site.builder.add(BuildRequest(stream_name="base/web"), requester="bob", age=60)
    new = site.builder.add(BuildRequest(stream_name="base/web"))
    site.builder.start(new.build_id)
    ids = {}
    filters: dict[str, dict[str, object]] = {
        "all": {},
        "bob's": {"Requester": "bob"},
        "running": {"State": "running"},
        "below": {"StreamName": "base"},
        "others": {"StreamName": "other"},
        "one": {"Limit": 1},
        "next": {"After": new.build_id},
        "recent": {"Since": "2026-11-22T23:38:00Z"},
    }
    for name, wanted in filters.items():
        answer = await site.call(site.certify(alice), "Imaginator.ListBuilds", **wanted)
        ids[name] = [build["BuildId"] for build in answer["Builds"]]

    both = [new.build_id, old.build_id]
    assert {
        "all": both,
        "bob's": both[1:],
        "running": both[:1],
        "below": both,
        "others": [],
        "one": both[:1],
        "next": both[1:],
        "recent": both[:1],
    } == ids


@pytest_twisted.ensureDeferred
async def test_images(site: RpcSite, alice: Wish) -> None:
    """Images are listed, found by stream, and described without the store's own fields."""
    credentials = site.certify(alice)
    listed = await site.call(credentials, "ImageServer.ListImages", Prefix="base")
    latest = await site.call(credentials, "ImageServer.FindLatestImage", StreamName="base/web")
    image = await site.call(credentials, "ImageServer.GetImage", **latest)

    assert [NAME] == [line["Name"] for line in listed["Images"]]
    assert {"ImageName": NAME} == latest
    assert ([{"Name": "tree", "Version": "2.1", "Size": 100}], "alice") == (
        image["Packages"],
        image["Origin"]["CreatedFor"],
    )
    assert {"Root", "Links"}.isdisjoint(image)


@pytest_twisted.ensureDeferred
async def test_dependencies(site: RpcSite, alice: Wish) -> None:
    """The chosen part of the graph, as a table and as a text, with its times; ages are seconds."""
    graph = Graph(sources={"web": "base", "db": "lost"}, roots=frozenset({"base"}), errors={"bad": "no JSON"})
    site.builder.dependencies.latest = Snapshot(graph, "fetched", START, START + timedelta(hours=1), "a full disk")
    credentials = site.certify(alice)
    table = await site.call(credentials, "Imaginator.GetDependencies", MaxAge=60, Excludes=["db"])
    text = await site.call(credentials, "Imaginator.GetDirectedGraph", Includes=["db"])
    whole = await site.call(credentials, "Imaginator.GetDependencies")

    times = {
        "FetchLog": "fetched",
        "GeneratedAt": "2026-11-22T23:38:05Z",
        "LastAttemptAt": "2026-11-23T00:38:05Z",
        "LastAttemptError": "a full disk",
    }
    expected = {"StreamToSource": {"web": "base"}, "UnbuildableSources": {}, "StreamErrors": {"bad": "no JSON"}}
    assert {**times, **expected} == table
    assert {**times, "GraphvizDot": 'digraph all {\n  "db" -> "lost"\n  "lost" [fontcolor=red]\n}\n'} == text
    assert {"lost": {}} == whole["UnbuildableSources"]
    assert [60, 0, 0] == site.builder.dependencies.asked


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("ImageServer.FindLatestImage", {"StreamName": "no/such"}),
        ("ImageServer.GetImage", {"ImageName": "no/such/2026-11-22:23:38:05"}),
        ("Imaginator.GetBuild", {"BuildId": "0" * 26}),
        ("system.methodHelp", {"MethodName": "no.such"}),
    ],
)
@pytest_twisted.ensureDeferred
async def test_not_found(site: RpcSite, alice: Wish, method: str, parameters: dict[str, object]) -> None:
    """What is not there has one code."""
    with pytest.raises(RpcError) as caught:
        await site.call(site.certify(alice), method, **parameters)

    assert (-32003, "not-found") == (caught.value.code, caught.value.data["kind"])


@pytest_twisted.ensureDeferred
async def test_introspection(site: RpcSite, alice: Wish) -> None:
    """Every method is listed and has a sentence of help."""
    credentials = site.certify(alice)
    names = await site.call(credentials, "system.listMethods")

    assert sorted(METHODS) == names
    for name in names:
        assert (await site.call(credentials, "system.methodHelp", MethodName=name)).endswith(".")


def test_rows_refuse_by_default() -> None:
    """A row of the table that says nothing of access is for full access alone."""
    assert Access.FULL is METHODS["Imaginator.GetBuild"]._field_defaults["access"]


@pytest_twisted.ensureDeferred
async def test_start_auto_builds(site: RpcSite) -> None:
    """A cycle begins; one that is under way is an error with the original's words, unless that is waited for."""
    root = site.certify(Wish("root", methods=["Imaginator.StartAutoBuilds"]))
    await site.call(root, "Imaginator.StartAutoBuilds")
    site.builder.automation.busy = True
    with pytest.raises(RpcError, match="^auto build busy$") as refused:
        await site.call(root, "Imaginator.StartAutoBuilds", WaitForComplete=True)
    await site.call(root, "Imaginator.StartAutoBuilds", WaitToStart=True, WaitForComplete=True)

    assert -32004 == refused.value.code
    assert [(False, False), (True, True)] == site.builder.automation.started
