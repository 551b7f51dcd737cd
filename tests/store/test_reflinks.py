"""Stores on file systems that can share blocks: objects and layers take them once, and images are as anywhere else."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import pytest_twisted

from imaginator.store.merkle import Rules
from tests.build.test_pack import Packer, seen
from tests.support.power import mounted
from tests.support.store_parts import running_store

SIZE = 512 << 20
LARGE = 1 << 20


@pytest.fixture(params=["btrfs", "xfs"])
def disk(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A new file system in memory."""
    if request.param not in Path("/proc/filesystems").read_text().split():
        pytest.skip(f"this kernel has no {request.param}")
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="disk-") as folder:
        image = Path(folder, "disk")
        with image.open("wb") as file:
            file.truncate(SIZE)
        subprocess.run([f"mkfs.{request.param}", "-q", image], check=True, capture_output=True)
        with mounted(image, Path(folder, "mounted"), []) as place:
            yield place


def shared(path: Path) -> bool:
    """Whether all blocks of a file are another one's as well."""
    os.sync()
    listing = subprocess.run(["filefrag", "-v", path], check=True, capture_output=True, text=True).stdout
    extents = [line for line in listing.splitlines() if line.strip()[:1].isdigit()]
    return bool(extents) and all("shared" in line for line in extents)


@pytest_twisted.ensureDeferred
async def test_objects_and_layers_share_blocks(disk: Path) -> None:
    """When they are made of a build, and when a layer is made of objects."""
    async with running_store(disk) as parts:
        packer = Packer(parts)
        script = f"mkdir d; head -c {LARGE} /dev/urandom > d/large; ln d/large link; echo small > small; mkfifo p"
        base, _ = await packer.build(None, script, Rules())
        image, _ = await packer.build(base, f"head -c {LARGE} /dev/urandom > new; rm small; chmod 600 link", Rules())

        described = await packer.described(image)
        objects = [parts.objects.path(described[path].object) for path in (b"/d/large", b"/new")]
        assert [True, True] == [shared(path) for path in objects]
        assert seen(described) == seen(await packer.mounted(image))
        for layer in (disk / "layers").iterdir():
            layer.rename(disk / f"lost-{layer.name}")
        assert seen(described) == seen(await packer.mounted(image))
        _, (restored,) = await packer.layers.lowers(image)
        assert [True, True] == [shared(restored / "d/large"), shared(restored / "new")]
