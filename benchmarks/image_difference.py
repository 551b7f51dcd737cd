"""The difference of two large images that differ little, against reading both file lists whole."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.figure import Figure, seconds, spread
from benchmarks.workshop import Workshop, run
from imaginator.model.changes import Change
from imaginator.model.image import Image
from imaginator.model.tree import Inode, Kind, NodeReader, walk
from imaginator.store.difference import differences
from imaginator.store.images import NodeCache
from imaginator.store.merkle import Base, Rules, merge

RUNS = 5
FILES = 200_000
CHANGED = 20
DIRECTORY = Inode(Kind.DIRECTORY, 0o755)


def measure(folder: Path) -> Figure:
    """The file lists lie in a real catalogue; each run starts with nothing in the store's memory."""
    fast: list[float] = []
    slow: list[float] = []

    async def work(reactor: Any) -> None:
        async with Workshop.opened(reactor, folder / "store") as workshop:
            old, new = await images(workshop)
            for _ in range(RUNS):
                fast.append(timed(workshop, lambda read: check(list(differences(old.root, new.root, read)))))
                slow.append(timed(workshop, lambda read: [list(walk(image.root, read)) for image in (old, new)]))

    run(work)
    parts = [
        spread("difference", fast),
        spread("both file lists read whole", slow),
        f"{FILES} files each, {CHANGED} of them differ",
    ]
    return Figure("image-difference", statistics.median(fast) / statistics.median(slow), 0.02, parts)


def timed(workshop: Workshop, work: Callable[[NodeReader], object]) -> float:
    """How long work takes with a reader that remembers nothing yet."""
    return seconds(lambda: work(NodeCache(workshop.catalogue)))


def check(found: list[Any]) -> None:
    """A difference that is not one would be a fast one."""
    if len(found) != CHANGED:
        raise RuntimeError(f"{len(found)} differences found, expected {CHANGED}")


async def images(workshop: Workshop) -> tuple[Image, Image]:
    """Two images of empty files."""
    first = merge(None, list(everything()), [], Rules(), workshop.store.nodes())
    old = await workshop.store.add(draft(first.root), first.nodes, [])
    some = [Change(path(number), Inode(Kind.REGULAR, 0o600)) for number in range(0, FILES, FILES // CHANGED)]
    second = merge(Base(first.root), some, [], Rules(), workshop.store.nodes())
    return old, await workshop.store.add(draft(second.root), second.nodes, [])


def draft(root: Any) -> Image:
    """An image that is not named yet."""
    return Image(name="bench", root=root, created_at=datetime.now(UTC))


def everything() -> Iterator[Change]:
    """Every path, parents first."""
    yield Change(b"/", DIRECTORY)
    for number in range(FILES):
        if number % 1000 == 0:
            yield Change(b"/%03d" % (number // 1000), DIRECTORY)
        if number % 10 == 0:
            yield Change(path(number).rpartition(b"/")[0], DIRECTORY)
        yield Change(path(number), Inode(Kind.REGULAR, 0o644, mtime=number))


def path(number: int) -> bytes:
    """Ten files a directory, a hundred directories a directory."""
    return b"/%03d/%02d/%06d" % (number // 1000, number // 10 % 100, number)
