"""How long the reactor is held up while a large tree is packed: a ticker of 5 ms, its gaps at the 99.9th percentile."""

from __future__ import annotations

import contextlib
import os
import random
import time
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall, react

from benchmarks.figure import Figure
from demo.site import Site
from imaginator.model.build import BuildRequest, Stage, State
from imaginator.model.identity import Caller
from imaginator.service.assembly import Assembly
from imaginator.service.daemon import forget_garbage
from imaginator.service.options import Options

TICK = 0.005
LONGEST_GAP = 0.020
FILES = 20_000
BYTES = 500_000_000
PACKER = {"ListCommand": {"ArgList": ["/bin/busybox", "true"]}}


def measure(folder: Path) -> Figure:
    """Gaps are counted while the build is in the stages that pack and store, in this process' own reactor."""
    make_tree(folder / "tree")
    gaps: list[float] = []
    with contextlib.suppress(SystemExit):
        react(lambda reactor: Deferred.fromCoroutine(pack(reactor, folder, gaps)))
    ordered = sorted(gaps)
    worst = ordered[int(len(ordered) * 0.999)]
    parts = [
        f"99.9th percentile {worst * 1000:.1f} ms, median {ordered[len(ordered) // 2] * 1000:.1f} ms,"
        f" longest {ordered[-1] * 1000:.1f} ms of {len(gaps)} ticks",
        f"tree: {FILES} files, {BYTES / 1e6:.0f} MB, all new to the store",
    ]
    return Figure("reactor-tick-gap", worst / LONGEST_GAP, 1.0, parts)


def make_tree(root: Path) -> None:
    """Files of many sizes, with a shell for the packager's script."""
    (root / "bin").mkdir(parents=True)
    for name, content in (("busybox", Path("/bin/busybox").read_bytes()),):
        (root / "bin" / name).write_bytes(content)
        (root / "bin" / name).chmod(0o755)
    (root / "bin" / "sh").symlink_to("busybox")
    sizes = random.Random(1)
    for number in range(FILES):
        directory = root / f"{number // 100:03}"
        directory.mkdir(exist_ok=True)
        size = int(sizes.expovariate(FILES / BYTES))
        (directory / f"{number:05}").write_bytes(os.urandom(min(size, 4096)).ljust(size, b"x"))


async def pack(reactor: Any, folder: Path, gaps: list[float]) -> None:
    """Build a bootstrap image of the tree and note the gaps."""
    site = Site(folder)
    site.configure({"large": ["cp", "-a", f"{folder}/tree/.", "$dir"]}, {}, PACKER)
    options = Options()
    options.parseOptions([*site.daemon_flags(), "--build-log-dir", str(folder / "logs")])
    assembly = Assembly(options, reactor)
    for service in (assembly.workers, assembly.catalogue):
        service.startService()
    await assembly.configuration.load()
    await assembly.builder.load()
    forget_garbage()
    assembly.builder.startService()
    request = BuildRequest(stream_name="large", expires_in=3600)
    record = await assembly.builder.submit(request, Caller("bench", full_access=True))
    last = [time.perf_counter()]

    def tick() -> None:
        now = time.perf_counter()
        current = assembly.queue.get(record.build_id)
        if current is not None and current.stage in (Stage.PACK, Stage.STORE):
            gaps.append(now - last[0])
        last[0] = now

    ticker = LoopingCall(tick)
    ticker.start(TICK)
    ended = await assembly.builder.wait(record.build_id)
    ticker.stop()
    await assembly.builder.stopService()
    assembly.catalogue.stopService()
    assembly.workers.stopService()
    if ended.state is not State.SUCCEEDED:
        raise RuntimeError(ended.failure)
