"""Whole builds with the real sandbox and store, over a system that is nothing but busybox."""

from __future__ import annotations

import json

import pytest
import pytest_twisted
from twisted.internet.defer import CancelledError, ensureDeferred

from imaginator.model.build import Stage
from imaginator.model.errors import BuildFailed
from imaginator.model.image import Package
from imaginator.model.manifest import RUN_DIRECTORIES
from imaginator.model.names import stream_of
from tests.support.house import House, Record

FILTERED = '{"SourceImage": "small", "FilterLines": ["/bin/generic-packager$"]}'


@pytest_twisted.ensureDeferred
async def test_bootstrap(house: House) -> None:
    """The command fills the tree; the packager, an empty resolv.conf and the packages come on top."""
    image = await house.bootstrap()

    assert "small" == stream_of(image.name)
    assert (Package("small", "1"),) == image.packages
    assert b"" == house.content(image, b"/etc/resolv.conf")
    assert 0o755 == house.tree(image)[b"/bin/generic-packager"].mode
    assert (b"/usr/share/linked", b"/usr/share/linked-too") in image.links
    assert ("alice", "build-of-small") == (image.origin.created_for, image.origin.build_id)


@pytest_twisted.ensureDeferred
async def test_images_that_go_while_a_build_stands_on_them(house: House) -> None:
    """Source and previous image are deleted and collected in mid-build, which ends well; afterwards they can go."""
    source = await house.bootstrap(more="echo 1 > usr/share/one; touch -d 2001-01-01 usr/share/one\n")
    previous = await house.build({"files/etc/note": "note"})
    monitor = Record()
    begun = monitor.said(b"begun")
    building = ensureDeferred(house.build({"scripts/1": "#!/bin/sh\necho begun\nsleep 1\n"}, monitor))
    await begun
    for image in (source, previous):
        await house.store.delete(image.name)
    await house.collector.run()
    image = await building
    await house.collector.run()

    assert b"1\n" == house.content(image, b"/usr/share/one")
    assert b"note" == house.content(image, b"/etc/note")
    assert [image.name] == [one.name for one in await house.store.list()]
    files = {file.parent.name + file.name for file in house.store.objects.glob("*/*")}
    assert {inode.object.hex() for inode in house.tree(image).values()} - {""} == files
    assert 2 == len(list((house.directory / "state/layers").iterdir()))


@pytest_twisted.ensureDeferred
async def test_manifest_steps_in_order(house: House) -> None:
    """Files, scripts in version order, packages, clean-up, later scripts and tests all leave their marks."""
    note = "#!/bin/sh\necho {0} $SAID >> /etc/steps\n"
    source = await house.bootstrap()
    monitor = Record()

    image = await house.build(
        {
            "files/etc/hello": "hello",
            "files.append/etc/passwd": "more\n",
            "pre-install-scripts/1": note.format("pre"),
            "package-list": "# tools\nping\n",
            "scripts/10_b": note.format("ten"),
            "scripts/9_a": "echo nine >> /etc/steps\ncat /proc/self/status > /dev/null\n",
            "scripts/.hidden": "exit 1\n",
            "post-install-files/etc/late": "late",
            "post-scripts-files/etc/resolv.conf": "nameserver 192.0.2.1\n",
            "post-cleanup-scripts/1": "#!/bin/sh\ntest ! -e /proc/self || exit 1\necho post >> /etc/steps\n",
            "tests/sane": "#!/bin/sh\ntest -s /etc/hello && echo $SAID sanity\n",
            "tags.json": '{"of": "$IMAGE_STREAM_LEAF_NAME", "gone": "$NOTHING"}',
            "filter": "/var/log/.*\n",
        },
        monitor,
    )

    tree = house.tree(image)
    assert b"pre verbatim\nnine\nten verbatim\npost\n" == house.content(image, b"/etc/steps")
    assert b"nameserver 192.0.2.1\n" == house.content(image, b"/etc/resolv.conf")
    assert house.content(image, b"/etc/passwd").endswith(b"more\n")
    assert (Package("ping", "1", 2048), Package("small", "1")) == image.packages
    assert {b"/etc/late", b"/etc/cleaned", b"/tests/test/over/sane"} <= tree.keys()
    assert {b"/.scripts", b"/var/cache/lists"}.isdisjoint(tree)
    assert ({"of": "over"}, ("/var/log/.*",)) == (image.tags, image.filter)
    assert source.name == image.origin.source_image
    assert b"verbatim sanity" in monitor.data
    assert [stage for stage in Stage if stage is not Stage.BOOTSTRAP] == monitor.stages


@pytest_twisted.ensureDeferred
async def test_environment_of_commands(house: House) -> None:
    """Commands see the stream's and the request's variables, and no secret."""
    await house.bootstrap()

    image = await house.build(
        {"scripts/show": "env > /etc/seen\n"}, git_branch="master", variables={"COLOUR": "blue", "EMPTY": ""}
    )

    seen = dict(line.split("=", 1) for line in house.content(image, b"/etc/seen").decode().splitlines())
    expected = {"COLOUR": "blue", "HOME": "/", "USER": "root", "LOGNAME": "root", "IMAGE_STREAM": "test/over"}
    assert expected.items() <= seen.items()
    assert ("master", "", "amd64") == (seen["REQUESTED_GIT_BRANCH"], seen["MANIFEST_GIT_COMMIT_ID"], seen["ARCH"])
    assert {"TOKEN", "EMPTY"}.isdisjoint(seen)


@pytest.mark.parametrize("name", RUN_DIRECTORIES)
@pytest_twisted.ensureDeferred
async def test_a_directory_without_network(house: House, name: str) -> None:
    """What a manifest says needs no network has a loopback alone; the other directories have a way out."""
    await house.bootstrap()
    online = "#!/bin/sh\nbusybox ip link show tap0\n"
    offline = online.replace("busybox", "! busybox")
    manifest = {"SourceImage": "small", "WithoutNetwork": [name]}
    scripts = {f"{other}/1": offline if other == name else online for other in RUN_DIRECTORIES}

    await house.build({"manifest": json.dumps(manifest), **scripts})


@pytest.mark.parametrize(
    ("files", "problems"),
    [
        ({"scripts/10_fail": "echo cannot find my keys >&2\nexit 7\n"}, ["10_fail", "exit status 7", "my keys"]),
        ({"tests/sane": "#!/bin/sh\necho insane\nexit 1\n"}, ["/tests/test/over/sane", "exit status 1", "insane"]),
        ({"tests/hangs": "#!/bin/sh\nsleep 3600 &\nsleep 3600\n"}, ["/tests/test/over/hangs", "10 s"]),
        ({"scripts/killed": "kill -9 $$\n"}, ["scripts/killed", "SIGKILL"]),
    ],
)
@pytest_twisted.ensureDeferred
async def test_failure_is_one_sentence_and_no_image(house: House, files: dict[str, str], problems: list[str]) -> None:
    """What fails is named, with its end and its last words; the store gets nothing."""
    await house.bootstrap()

    with pytest.raises(BuildFailed) as caught:
        await house.build(files)

    assert [] == [problem for problem in problems if problem not in str(caught.value)]
    assert [] == list(await house.store.list("test"))


@pytest_twisted.ensureDeferred
async def test_error_shows_the_last_lines_only(house: House) -> None:
    """A long output is in the log; the error has its last twenty lines."""
    await house.bootstrap()

    with pytest.raises(BuildFailed) as caught:
        await house.build({"scripts/1": "n=0\nwhile test $n -lt 100; do n=$((n+1)); echo line $n; done\nexit 1\n"})

    assert [f"line {number}" for number in range(81, 101)] == str(caught.value).splitlines()[1:]


@pytest.mark.parametrize("where", ["scripts/1", "tests/1"])
@pytest_twisted.ensureDeferred
async def test_cancelled_build_leaves_nothing(house: House, where: str) -> None:
    """Cancelling ends the command that runs and everything that it started."""
    await house.bootstrap()
    monitor = Record()
    begun = monitor.said(b"sleeping" if where == "scripts/1" else b"run 1 tests")

    build = ensureDeferred(house.build({where: "#!/bin/sh\necho sleeping\nsleep 3600 &\nsleep 3600\n"}, monitor))
    await begun
    build.cancel()
    with pytest.raises(CancelledError):
        await build

    assert [] == list(await house.store.list("test"))


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        (["sh", "-c", "echo no mirror today >&2; exit 3"], "exit status 3\nno mirror today"),
        (["no-such-bootstrap", "$dir"], "no-such-bootstrap"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_failing_bootstrap(house: House, command: list[str], problem: str) -> None:
    """A bootstrap command that fails or is not there is named."""
    with pytest.raises(BuildFailed, match=problem):
        await house.bootstrap(command)


@pytest_twisted.ensureDeferred
async def test_source_image_without_packager(house: House) -> None:
    """An image that cannot be built upon is one clear error."""
    await house.bootstrap()
    image = await house.build({"manifest": FILTERED}, stream="test/bare")
    assert b"/bin/generic-packager" not in house.tree(image)

    with pytest.raises(BuildFailed, match="no /bin/generic-packager"):
        await house.build({"manifest": '{"SourceImage": "test/bare"}'}, stream="test/upon")


@pytest_twisted.ensureDeferred
async def test_bad_manifest_fails_before_anything_runs(house: House) -> None:
    """A broken text file is told before the source image is even looked for."""
    monitor = Record()

    with pytest.raises(Exception, match="test/over/filter: line 1"):
        await house.build({"filter": "(\n"}, monitor)

    assert [Stage.FETCH] == monitor.stages


@pytest_twisted.ensureDeferred
async def test_packages_are_downloaded_once(house: House) -> None:
    """A later build over another source image finds them, and no image holds anything of the cache."""
    manifest = {"package-list": "ping\n"}
    first, second = Record(), Record()
    await house.bootstrap()
    await house.build(manifest, first)
    await house.bootstrap()

    image = await house.build({**manifest, "package-list": "ping\npong\n"}, second)

    assert b"downloading ping" in first.data
    assert b"cached ping\ndownloading pong\n" in second.data
    assert ["ping.pkg", "pong.pkg"] == sorted(path.name for path in house.directory.glob("state/packages/fake/*"))
    assert [] == [path for path in house.tree(image) if b"downloads" in path or path.endswith(b".pkg")]
    assert "fake" == image.packager_type


@pytest_twisted.ensureDeferred
async def test_a_package_cache_that_does_not_work_fails_no_build(house: House) -> None:
    """The build says that it goes without."""
    monitor = Record()
    (house.directory / "state/packages/fake").touch()
    await house.bootstrap()

    image = await house.build({"package-list": "ping\n", "files/var/cache/downloads/checked/x": ""}, monitor)

    assert b"package cache: not used: " in monitor.data
    assert Package("ping", "1", 2048) in image.packages


@pytest_twisted.ensureDeferred
async def test_a_failing_packager_leaves_nothing_in_the_cache(house: House) -> None:
    """Only what a successful step downloaded is kept."""
    await house.bootstrap()

    with pytest.raises(BuildFailed, match="package install"):
        await house.build({"package-list": "ping\n../no/such\n"})

    assert [] == list(house.directory.glob("state/packages/fake/*"))
