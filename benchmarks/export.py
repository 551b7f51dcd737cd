"""An image of 1 GB as a tar archive in a pipe, against GNU tar of the same tree; its download is printed beside."""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import statistics
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.figure import Figure, seconds, spread
from demo.daemon import Daemon
from demo.site import Site
from imaginator.model.image import decode_image
from imaginator.rpc.client import Client, Credentials
from imaginator.store.catalogue import Catalogue
from imaginator.store.images import EmbeddedStore
from imaginator.store.objects import Objects
from imaginator.store.tar import tar_blocks
from imaginator.store.workers import Workers
from tests.support.real_reactor import reactor

RUNS = 5
PIPE = 1 << 20
FILES = 30_000
BYTES = 1_000_000_000
STREAM = "export"
PACKER = {"ListCommand": {"ArgList": ["/bin/busybox", "true"]}}


def measure(folder: Path) -> Figure:
    """A daemon builds the image; then exports, yardsticks and downloads take turns."""
    tree = make_tree(folder / "tree")
    site = Site(folder / "site")
    site.make_certificates()
    site.configure({STREAM: ["cp", "-a", f"{tree}/.", "$dir"]}, {}, PACKER)
    daemon = Daemon(site)
    daemon.start()
    try:
        exports, tars, downloads = compare(tree, site, daemon)
    finally:
        daemon.stop()
    yardstick = statistics.median(tars)
    parts = [
        spread("image in the store to archive in a pipe", exports),
        spread("tar -cf - of the tree into a pipe", tars),
        f"{spread('download over TLS', downloads)}: {statistics.median(downloads) / yardstick:.2f} of tar",
        f"tree: {FILES} files, {BYTES / 1e6:.0f} MB, a third of the times with nanoseconds",
    ]
    return Figure("export", statistics.median(exports) / yardstick, 1.5, parts)


def compare(tree: Path, site: Site, daemon: Daemon) -> Sequence[Sequence[float]]:
    """The times of some exports, yardsticks and downloads; each is done once before, which fills the caches."""
    certificate, key = site.certificate("user")
    with Client("127.0.0.1", daemon.port, Credentials(certificate, key, site.authority)) as client:
        name = client.call("Imaginator.BuildImage", StreamName=STREAM, ExpiresIn=3600)["ImageName"]
        works: Sequence[Callable[[], object]] = (
            lambda: into_cat(lambda pipe: export(site.state, name, pipe)),
            lambda: into_cat(
                lambda pipe: subprocess.run(["tar", "-C", tree, "-cf", "-", "."], stdout=pipe, check=True)
            ),
            lambda: download(client, name),
        )
        rounds = [[seconds(work) for work in works] for _ in range(RUNS + 1)]
    return list(zip(*rounds[1:], strict=True))


def make_tree(root: Path) -> Path:
    """Files of many sizes, with a shell for the packager's script; a third of the times have nanoseconds."""
    (root / "bin").mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin/busybox")
    (root / "bin/sh").symlink_to("busybox")
    sizes = random.Random(1)
    for number in range(FILES):
        directory = root / "usr/share" / f"{number // 50:03}"
        directory.mkdir(parents=True, exist_ok=True)
        size = int(sizes.expovariate(FILES / BYTES))
        path = directory / f"{number:05}"
        path.write_bytes(os.urandom(min(size, 4096)).ljust(size, b"x"))
        time = 1_700_000_000 * 10**9 + (number if number % 3 == 0 else 0)
        os.utime(path, ns=(time, time))
    return root


def into_cat(write: Callable[[int], object]) -> None:
    """Let something write into a pipe that cat empties; the pipe holds a few blocks, whoever writes."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as cat:
        assert cat.stdin is not None
        fcntl.fcntl(cat.stdin, fcntl.F_SETPIPE_SZ, PIPE)
        with cat.stdin as pipe:
            write(pipe.fileno())


def export(state: Path, name: str, pipe: int) -> None:
    """Write the archive of an image; the store is opened for it, so that no node is in its memory."""
    catalogue = Catalogue(state / "catalogue.sqlite", reactor)
    try:
        query = "SELECT record FROM images WHERE name = ?"
        (record,) = catalogue.read_now(lambda connection: connection.execute(query, (name,)).fetchone())
        store = EmbeddedStore(catalogue, Objects(state / "objects"), Workers(1, reactor))
        for block in one_ahead(tar_blocks(decode_image(record), store)):
            write_whole(pipe, block)
    finally:
        catalogue.stopService()


def one_ahead(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Let a thread make one block while the one before is written, as the daemon does (`web.streaming`)."""
    with ThreadPoolExecutor(1) as worker:
        coming = worker.submit(next, blocks, b"")
        while block := coming.result():
            coming = worker.submit(next, blocks, b"")
            yield block


def write_whole(pipe: int, data: bytes) -> None:
    """Write all of a block, in as many parts as the pipe takes."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(pipe, rest) :]


def download(client: Client, name: str) -> None:
    """What ``builder-tool get-image`` does, less the writing."""
    with client.stream(f"/getImage?{name}") as archive, open(os.devnull, "wb") as nowhere:
        shutil.copyfileobj(archive, nowhere, 1 << 18)
