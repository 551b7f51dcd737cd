"""Whole builds with the real sandbox and store, over a system that is nothing but busybox."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
import pytest_twisted
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred

from imaginator.build.engine import Engine, EngineParts
from imaginator.build.job import Job, SourceWish
from imaginator.build.monitor import Monitor
from imaginator.build.sources import Sources
from imaginator.model.build import BuildRequest, Stage
from imaginator.model.errors import BuildFailed, SourceImageNeeded
from imaginator.model.image import Image, Package
from imaginator.model.manifest import RUN_DIRECTORIES
from imaginator.model.names import stream_of
from imaginator.model.packagers import ListCommand, PackageCache, PackagerType
from imaginator.model.settings import BootstrapStream, Settings
from imaginator.model.streams import Stream
from imaginator.model.tree import Entry, Inode, walk
from imaginator.sandbox.limits import Limits
from imaginator.store.catalogue import Catalogue
from imaginator.store.images import EmbeddedStore
from imaginator.store.interface import Wanted
from imaginator.store.layers import Entries, Layers
from imaginator.store.objects import Objects
from imaginator.store.packages import Packages
from imaginator.store.sieve import SieveMemory
from imaginator.store.workers import Workers

BOOTSTRAP = """
set -eu
cd "${1:?}"
mkdir bin etc proc sys dev usr usr/share tmp
cp "$(command -v busybox)" bin/busybox
for name in sh cat env kill mkdir rm sleep test touch; do ln -s busybox "bin/$name"; done
echo 'root:x:0:0:root:/root:/bin/sh' > etc/passwd
echo 'small 1' > etc/release
echo one > usr/share/linked
ln usr/share/linked usr/share/linked-too
"""
"""Makes a system that is nothing but busybox; a file, because the words of a bootstrap command are expanded."""

FILTERED = '{"SourceImage": "small", "FilterLines": ["/bin/generic-packager$"]}'

INSTALL = """
cd /var/cache/downloads
for name
do
    echo "$name 1 2" >> /etc/release
    test -e checked/"$name.pkg" && echo "cached $name" && continue
    echo "downloading $name"
    echo "$name" > "$name.pkg"
done
"""
"""Downloads what was not downloaded before."""

PACKAGER = PackagerType(
    clean_command=("touch", "/etc/cleaned"),
    clean_patterns=("/var/cache/.*",),
    install_command=("sh", "-c", INSTALL, "install"),
    list_command=ListCommand(("cat", "/etc/release"), 1024),
    package_cache=PackageCache("/var/cache/downloads", "checked", ".pkg"),
    update_command=("sh", "-c", "mkdir -p /var/cache && echo list > /var/cache/lists"),
    verbatim=("export SAID=verbatim",),
)


class Record(Monitor):
    """A monitor that remembers everything, and wakes who waits for a word in the output."""

    def __init__(self) -> None:
        self.stages: list[Stage] = []
        self.data = b""
        self._wanted: tuple[bytes, Deferred[None]] | None = None

    def stage(self, stage: Stage) -> None:
        """Remember a stage."""
        self.stages.append(stage)

    def log(self, data: bytes) -> None:
        """Remember output."""
        self.data += data
        if self._wanted is not None and self._wanted[0] in self.data:
            from twisted.internet import reactor

            (_, waiting), self._wanted = self._wanted, None
            # Later: a build cannot be cancelled from within its own call.
            reactor.callLater(0, waiting.callback, None)

    def note(self, text: str) -> None:
        """Remember a line."""
        self.log(text.encode() + b"\n")

    def said(self, word: bytes) -> Deferred[None]:
        """Fires when ``word`` comes."""
        waiting: Deferred[None] = Deferred()
        self._wanted = (word, waiting)
        return waiting


class House(NamedTuple):
    """An engine with its store, and a directory for manifests."""

    directory: Path
    store: EmbeddedStore
    engine: Engine

    def job(self, stream: str, definition: BootstrapStream | Stream, request: Mapping[str, object] = {}) -> Job:
        """A job for a stream."""
        return Job(
            build_id=f"build-of-{stream.replace('/', '-')}",
            attempt=1,
            stream_name=stream,
            request=BuildRequest(stream_name=stream, **request),  # type: ignore[arg-type]
            definition=definition,
            packager=PACKAGER if isinstance(definition, BootstrapStream) else None,
            arch="amd64",
            secrets={"TOKEN": "s3cr3t-word"},
            settings=Settings(packager_types={"fake": PACKAGER}),
            requester="alice",
            expires_in=3600,
            limits=Limits(),
        )

    async def bootstrap(self, command: Sequence[str] = ()) -> Image:
        """Build the stream `small`, by default from busybox."""
        script = self.directory / "bootstrap"
        script.write_text(BOOTSTRAP)
        command = command or ["sh", str(script), "$dir"]
        stream = BootstrapStream(bootstrap_command=tuple(command), packager_type="fake")
        return await self.engine.build(self.job("small", stream), Record(), self.source)

    async def build(
        self, files: Mapping[str, str], monitor: Monitor | None = None, stream: str = "test/over", **request: object
    ) -> Image:
        """Build a stream whose manifest is these files."""
        manifest = self.directory / "manifests" / stream
        for name, text in {"manifest": '{"SourceImage": "small"}', **files}.items():
            path = manifest / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(0o755 if text.startswith("#!") else 0o644)
        definition = Stream(manifest_url=f"dir://{self.directory}/manifests", manifest_directory="$IMAGE_STREAM")
        return await self.engine.build(self.job(stream, definition, request), monitor or Record(), self.source)

    async def source(self, wish: SourceWish) -> Image:
        """The latest image that is wished for."""
        image = await self.store.find_latest(Wanted(wish.stream, wish.commit, wish.tags))
        if image is None:
            raise SourceImageNeeded(f"no source image: {wish.stream}", wish.stream)
        return image

    def tree(self, image: Image) -> dict[bytes, Inode]:
        """Every path of an image."""
        entries: Iterator[tuple[bytes, Entry]] = walk(image.root, self.store.nodes())
        return {path: entry.inode for path, entry in entries}

    def content(self, image: Image, path: bytes) -> bytes:
        """A file of an image."""
        inode = self.tree(image)[path]
        if not inode.object:
            return b""
        with os.fdopen(self.store.open_object(inode.object), "rb") as file:
            return file.read()


async def never(_entries: Entries, _place: Path) -> tuple[Path, int]:
    """No layer is missing in these tests."""
    raise AssertionError


def children_of_ours() -> set[int]:
    """The processes that this one has started."""
    tasks = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    return {int(pid) for task in tasks for pid in task.read_text().split()}


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """An engine with an empty store; afterwards nothing runs, is mounted or lies in the workspaces."""
    from twisted.internet import reactor

    before = children_of_ours()
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    workers = Workers(2, reactor)  # type: ignore[arg-type]
    catalogue = Catalogue(state / "catalogue.sqlite", reactor)  # type: ignore[arg-type]
    workers.startService()
    catalogue.startService()
    store = EmbeddedStore(catalogue, Objects(state / "objects"), workers)
    layers = Layers(state / "layers", catalogue, store.nodes(), workers, never)
    sources = Sources(reactor, state / "sources")  # type: ignore[arg-type]
    packages = Packages(state / "packages", 1 << 30, workers)
    shared = (layers, sources, workers, SieveMemory(), packages)
    parts = EngineParts(reactor, state, store, *shared, verify=True)  # type: ignore[arg-type]
    yield House(tmp_path, store, Engine(parts))
    catalogue.stopService()
    workers.stopService()
    assert [] == list((state / "builds").iterdir())
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()
    assert before == children_of_ours()


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
