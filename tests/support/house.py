"""An engine with the real sandbox and store, over a system that is nothing but busybox."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from twisted.internet.defer import Deferred

from imaginator.build.engine import Engine, EngineParts
from imaginator.build.fetch import Fetcher
from imaginator.build.job import Job, SourceWish
from imaginator.build.monitor import Monitor
from imaginator.build.sources import Sources
from imaginator.model.build import BuildRequest, Stage
from imaginator.model.errors import SourceImageNeeded
from imaginator.model.image import Image
from imaginator.model.packagers import ListCommand, PackageCache, PackagerType
from imaginator.model.settings import BootstrapStream, Settings
from imaginator.model.streams import Stream
from imaginator.model.tree import Entry, Inode, walk
from imaginator.sandbox.limits import Limits
from imaginator.store.catalogue import Catalogue
from imaginator.store.collector import Collector
from imaginator.store.images import EmbeddedStore
from imaginator.store.interface import Wanted
from imaginator.store.kept import Kept
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
for name in sh cat chmod env kill ln ls mkdir mv rm sleep stat test touch; do ln -s busybox "bin/$name"; done
echo 'root:x:0:0:root:/root:/bin/sh' > etc/passwd
echo 'small 1' > etc/release
echo one > usr/share/linked
ln usr/share/linked usr/share/linked-too
"""
"""Makes a system that is nothing but busybox; a file, because the words of a bootstrap command are expanded."""

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
    """An engine with its store, a directory for manifests, what these wished to be built on, and what it stands on."""

    directory: Path
    store: EmbeddedStore
    engine: Engine
    wishes: list[SourceWish]
    collector: Collector
    kept: Kept
    layers: Layers
    workers: Workers
    settings: Settings = Settings(packager_types={"fake": PACKAGER})

    def with_packager(self, packager: PackagerType) -> House:
        """The same, with another packager type."""
        return self._replace(settings=Settings(packager_types={"fake": packager}))

    def job(self, stream: str, definition: BootstrapStream | Stream, request: Mapping[str, object] = {}) -> Job:
        """A job for a stream."""
        return Job(
            build_id=f"build-of-{stream.replace('/', '-')}",
            attempt=1,
            stream_name=stream,
            request=BuildRequest(stream_name=stream, **request),  # type: ignore[arg-type]
            definition=definition,
            packager=self.settings.packager_types["fake"] if isinstance(definition, BootstrapStream) else None,
            arch="amd64",
            secrets={"TOKEN": "s3cr3t-word"},
            settings=self.settings,
            requester="alice",
            expires_in=3600,
            limits=Limits(),
        )

    async def bootstrap(
        self,
        command: Sequence[str] = (),
        monitor: Monitor | None = None,
        more: str = "",
        stream: str = "small",
        **definition: object,
    ) -> Image:
        """Build a bootstrap stream, by default from busybox; ``more`` are commands that add to that."""
        script = self.directory / "bootstrap"
        script.write_text(BOOTSTRAP + more)
        command = command or ["sh", str(script), "$dir"]
        fields = {"bootstrap_command": tuple(command), "packager_type": "fake", **definition}
        job = self.job(stream, BootstrapStream(**fields))  # type: ignore[arg-type]
        return await self.engine.build(job, monitor or Record(), self.source)

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
        self.wishes.append(wish)
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


@contextmanager
def open_house(tmp_path: Path) -> Iterator[House]:
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
    fetcher = Fetcher(reactor, sources=sources)
    kept = Kept(state / "kept", layers, reactor)  # type: ignore[arg-type]
    shared = (layers, sources, fetcher, workers, SieveMemory(), packages, kept)
    parts = EngineParts(reactor, state, store, *shared, verify=True)  # type: ignore[arg-type]
    collector = Collector(catalogue, store.objects, layers, store.holds, workers)
    yield House(tmp_path, store, Engine(parts), [], collector, kept, layers, workers)
    catalogue.stopService()
    workers.stopService()
    assert [] == list((state / "builds").iterdir())
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()
    assert before == children_of_ours()
