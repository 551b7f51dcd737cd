"""How long the reactor is held up while the daemon works: a ticker of 5 ms, its gaps at the 99.9th percentile."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall, deferLater, react

from benchmarks.figure import Figure
from demo.site import Site
from imaginator.model.build import BuildRequest, State
from imaginator.model.identity import Caller
from imaginator.service.assembly import Assembly
from imaginator.service.daemon import forget_garbage
from imaginator.service.options import Options
from imaginator.store.tar import tar_blocks
from imaginator.web.streaming import ThreadBlocks

TICK = 0.005
LONGEST_GAP = 0.020
FILES = 20_000
BYTES = 500_000_000
PACKER = {"ListCommand": {"ArgList": ["/bin/busybox", "true"]}}
BUILDS = 10
IDLE = 2.0


def measure(folder: Path) -> Figure:
    """Gaps in this process' own reactor, for each kind of work; the worst counts."""
    make_tree(folder / "tree")
    gaps: dict[str, list[float]] = {}
    with contextlib.suppress(SystemExit):
        react(lambda reactor: Deferred.fromCoroutine(Work(reactor, folder, gaps).run()))
    worst = max(percentile(some) for some in gaps.values())
    parts = [described(name, some) for name, some in gaps.items()]
    tree = f"tree: {FILES} files, {BYTES / 1e6:.0f} MB, all new to the store"
    return Figure("reactor-tick-gap", worst / LONGEST_GAP, 1.0, [*parts, tree])


def percentile(gaps: list[float]) -> float:
    """The gap that one in a thousand exceeds."""
    return sorted(gaps)[int(len(gaps) * 0.999)]


def described(name: str, gaps: list[float]) -> str:
    """A line about one kind of work."""
    ordered = sorted(gaps)
    median, longest = ordered[len(ordered) // 2], ordered[-1]
    return (
        f"{name}: 99.9th percentile {percentile(gaps) * 1000:.1f} ms, median {median * 1000:.1f} ms,"
        f" longest {longest * 1000:.1f} ms of {len(gaps)} ticks"
    )


@contextmanager
def ticking() -> Iterator[list[float]]:
    """The seconds between the turns of a ticker in the reactor, noted as long as the context is."""
    gaps: list[float] = []
    last = time.perf_counter()

    def tick() -> None:
        nonlocal last
        now = time.perf_counter()
        gaps.append(now - last)
        last = now

    ticker = LoopingCall(tick)
    ticker.start(TICK)
    yield gaps
    ticker.stop()


def make_tree(root: Path) -> None:
    """Files of many sizes, with a shell for the packager's script."""
    (root / "bin").mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin/busybox")
    (root / "bin" / "sh").symlink_to("busybox")
    sizes = random.Random(1)
    for number in range(FILES):
        directory = root / f"{number // 100:03}"
        directory.mkdir(exist_ok=True)
        size = int(sizes.expovariate(FILES / BYTES))
        (directory / f"{number:05}").write_bytes(os.urandom(min(size, 4096)).ljust(size, b"x"))


class Work:
    """The parts of a daemon at work in this process, without its port."""

    def __init__(self, reactor: Any, folder: Path, gaps: dict[str, list[float]]) -> None:
        self._reactor = reactor
        self._gaps = gaps
        self._site = Site(folder)
        manifest = folder / "manifests" / "over"
        (manifest / "files").mkdir(parents=True)
        (manifest / "manifest").write_text('{"SourceImage": "large"}')
        (manifest / "files" / "new").write_text("new")
        self._site.make_repository(manifest.parent)
        bootstraps = {"large": ["cp", "-a", f"{folder}/tree/.", "$dir"]}
        self._site.configure(bootstraps, {"over": self._site.stream("over")}, PACKER)
        options = Options()
        options.parseOptions([*self._site.daemon_flags(), "--build-log-dir", str(folder / "logs")])
        self._assembly = Assembly(options, reactor)

    async def run(self) -> None:
        """Every kind of work once, or a few times."""
        async with self._running():
            with self._counted("idle"):
                await deferLater(self._reactor, IDLE, lambda: None)
            with self._counted("bootstrap"):
                await self._build("large")
            with self._counted(f"{BUILDS} builds of one file"):
                for _ in range(BUILDS):
                    name = await self._build("over")
            shutil.rmtree(self._site.state / "layers")
            (self._site.state / "layers").mkdir()
            with self._counted("build over a lost layer"):
                await self._build("over")
            with self._counted("export"):
                await self._export(name)

    @asynccontextmanager
    async def _running(self) -> AsyncIterator[None]:
        assembly = self._assembly
        for service in (assembly.workers, assembly.catalogue):
            service.startService()
        await assembly.configuration.load()
        await assembly.builder.load()
        forget_garbage()
        assembly.builder.startService()
        yield
        await assembly.builder.stopService()
        assembly.catalogue.stopService()
        assembly.workers.stopService()

    @contextmanager
    def _counted(self, name: str) -> Iterator[None]:
        with ticking() as self._gaps[name]:
            yield

    async def _build(self, stream: str) -> str:
        builder = self._assembly.builder
        request = BuildRequest(stream_name=stream, expires_in=3600, max_source_age=86400)
        record = await builder.submit(request, Caller("bench", full_access=True))
        ended = await builder.wait(record.build_id)
        if ended.state is not State.SUCCEEDED:
            raise RuntimeError(ended.failure)
        return ended.image_name

    async def _export(self, name: str) -> None:
        store = self._assembly.store
        blocks = ThreadBlocks(tar_blocks(await store.get(name), store), self._assembly.workers)
        while await blocks():
            pass
