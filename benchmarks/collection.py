"""A collection over many images that share most of their files, against a bare look at every object; and its ticks."""

from __future__ import annotations

import hashlib
import statistics
import subprocess
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.figure import Figure, seconds, spread
from benchmarks.reactor_tick_gap import LONGEST_GAP, described, percentile, ticking
from benchmarks.workshop import Workshop, run
from imaginator.model.changes import Change, Content
from imaginator.model.image import Image
from imaginator.model.tree import Inode, Kind
from imaginator.service.daemon import forget_garbage
from imaginator.store.collector import Collector
from imaginator.store.merkle import Base, Rules, merge

IMAGES = 200
FILES = 7_000
CHANGED = 20
"""Files that an image has for itself, each in another directory."""

ROUNDS = 10
GOING = 10
"""Images that go before a round."""

DIRECTORY = Inode(Kind.DIRECTORY, 0o755)


class Measured:
    """The times of rounds, and the gaps between the reactor's ticks during them."""

    def __init__(self) -> None:
        self.rounds: list[float] = []
        self.idle: list[float] = []
        self.bare: list[float] = []
        self.gaps: list[float] = []
        self.objects = 0


def measure(folder: Path) -> list[Figure]:
    """Images go before each round; their nodes and objects are no others'."""
    found = Measured()

    async def work(reactor: Any) -> None:
        async with Workshop.opened(reactor, folder / "store") as workshop:
            await collections(workshop, found)

    run(work)
    parts = [
        spread(f"round after {GOING} images went", found.rounds),
        spread("round without news", found.idle),
        spread("find -type f", found.bare),
        f"{IMAGES} images at first, of {FILES} files each, {CHANGED} of them its own: {found.objects} objects",
    ]
    return [
        Figure("collection", statistics.median(found.rounds) / statistics.median(found.bare), 10, parts),
        Figure("collection-tick-gap", percentile(found.gaps) / LONGEST_GAP, 1.0, [described("collection", found.gaps)]),
    ]


async def collections(workshop: Workshop, found: Measured) -> None:
    """Fill the store, then let images go and collect, a few times."""
    store = workshop.store
    names = await filled(workshop)
    found.objects = len(list(store.objects.glob("*/*")))
    collector = Collector(workshop.catalogue, store.objects, workshop.layers, store.holds, workshop.workers)
    forget_garbage()
    for number in range(ROUNDS):
        for name in names[number * GOING : (number + 1) * GOING]:
            await store.delete(name)
        found.bare.append(seconds(lambda: subprocess.run(["find", store.objects, "-type", "f"], stdout=-3, check=True)))
        with ticking() as gaps:
            found.rounds.append(await timed(collector))
            found.idle.append(await timed(collector))
        found.gaps += gaps
    left = found.objects - ROUNDS * GOING * CHANGED
    if len(list(store.objects.glob("*/*"))) != left:
        raise RuntimeError(f"expected {left} objects to be left")


async def timed(collector: Collector) -> float:
    """How long a round takes."""
    start = datetime.now(UTC)
    await collector.run()
    return (datetime.now(UTC) - start).total_seconds()


async def filled(workshop: Workshop) -> list[str]:
    """Images over one base; their names."""
    store = workshop.store
    changes = [*directories(), *files(range(FILES), "base")]
    base = merge(None, changes, list(contents(workshop, changes)), Rules(), store.nodes())
    await store.add(draft(base.root), base.nodes, [])
    names = []
    for number in range(IMAGES):
        own = list(files(range(0, FILES, FILES // CHANGED), f"image {number}"))
        made = merge(Base(base.root), own, list(contents(workshop, own)), Rules(), store.nodes())
        names.append((await store.add(draft(made.root), made.nodes, [])).name)
    return names


def draft(root: Any) -> Image:
    """An image that is not named yet."""
    return Image(name="bench", root=root, created_at=datetime.now(UTC))


def directories() -> Iterator[Change]:
    """A directory for ten files each."""
    yield Change(b"/", DIRECTORY)
    for number in range(FILES // 100):
        yield Change(b"/%02d" % number, DIRECTORY)
        yield from (Change(b"/%02d/%d" % (number, tenth), DIRECTORY) for tenth in range(10))


def files(numbers: Iterable[int], word: str) -> Iterator[Change]:
    """Files whose content is a word and their number."""
    for number in numbers:
        size = len(text(word, number))
        path = b"/%02d/%d/%05d" % (number // 100, number // 10 % 10, number)
        yield Change(path, Inode(Kind.REGULAR, 0o644, size=size, object=hashlib.sha512(text(word, number)).digest()))


def text(word: str, number: int) -> bytes:
    """The content of a file."""
    return b"%b %d" % (word.encode(), number)


def contents(workshop: Workshop, changes: Iterable[Change]) -> Iterator[Content]:
    """Keep an object for each file."""
    for change in changes:
        inode = change.inode
        if inode is not None and inode.object:
            name = inode.object.hex()
            place = workshop.store.objects / name[:2]
            place.mkdir(exist_ok=True)
            (place / name[2:]).touch()
            yield Content(change.path, inode.object, inode.size, True)
