"""Packages offered to a build and kept from it, whatever the build does."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, gatherResults

from imaginator.sandbox.offering import SMALLEST
from imaginator.sandbox.sandbox import Bind, Sandbox, Workspace
from tests.support.sandboxes import opened, run, small_tree

TARGET = b"/var/cache/packages"
ROOM = 100 * SMALLEST


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A build over a small system."""
    return Workspace(tmp_path / "build", (small_tree(tmp_path / "source"),))


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache that holds two packages."""
    place = tmp_path / "cache"
    place.mkdir()
    for name in ("one.deb", "two.deb"):
        (place / name).write_text(name)
        os.utime(place / name, (1, 1))
    return place


@asynccontextmanager
async def offering(workspace: Workspace, cache: Path, offer_in: str = "") -> AsyncIterator[tuple[Sandbox, list[Bind]]]:
    """A sandbox and the mount by which its commands see the cache."""
    async with opened(workspace) as sandbox:
        await sandbox.tree.make_mount_points([TARGET])
        found = await sandbox.tree.offer_packages(TARGET, cache, offer_in)
        assert found is not None
        yield sandbox, [Bind(found[0], TARGET, writable=True)]


def content(cache: Path) -> dict[str, str]:
    """Every file of the cache."""
    return {path.name: path.read_text() for path in cache.iterdir()}


def described(cache: Path) -> dict[str, tuple[int, ...]]:
    """Mode, owner, size and time of every file of the cache."""
    stats = {path.name: path.stat() for path in cache.iterdir()}
    return {name: (one.st_mode, one.st_uid, one.st_gid, one.st_size, one.st_mtime_ns) for name, one in stats.items()}


def used(cache: Path) -> set[str]:
    """The files of the cache that count as used."""
    return {path.name for path in cache.iterdir() if path.stat().st_mtime > 1}


@pytest_twisted.ensureDeferred
async def test_a_command_sees_the_cache_and_adds_to_it(workspace: Workspace, cache: Path) -> None:
    """What it finds it may use, what it adds is kept, and nothing of it is in the tree."""
    async with offering(workspace, cache, "partial") as (sandbox, binds):
        ended, said = await run(
            sandbox,
            f"cd {TARGET.decode()}; cat partial/one.deb; mv partial/one.deb .; echo new > new.deb; echo x > other",
            binds=binds,
        )
        _, later = await run(sandbox, f"ls {TARGET.decode()}", binds=binds)
        _, without = await run(sandbox, f"ls {TARGET.decode()}")
        counts = await sandbox.tree.keep_packages(".deb", ROOM)
        paths = await sandbox.tree.changed_paths()

    assert (True, "one.deb") == (ended.ok, said)
    assert ["new.deb", "one.deb", "other", "partial"] == later.split()
    assert "" == without
    assert (1, 1) == counts
    assert {"one.deb": "one.deb", "two.deb": "two.deb", "new.deb": "new\n"} == content(cache)
    assert {"new.deb", "one.deb"} == used(cache)
    assert [] == [path for path in paths if path.startswith(TARGET + b"/")]
    assert [] == list((workspace.directory / "packages").iterdir())


@pytest_twisted.ensureDeferred
async def test_the_cache_cannot_be_written_through_the_view(workspace: Workspace, cache: Path) -> None:
    """Writing, truncating, removing, and changing modes or times stay within the build."""
    before = described(cache)
    script = f"""cd {TARGET.decode()}
    echo evil >> one.deb; chmod 4777 one.deb; touch two.deb; rm two.deb; ln one.deb three.deb
    """
    async with offering(workspace, cache) as (sandbox, binds):
        await run(sandbox, script, binds=binds)
        during = content(cache)

    assert {"one.deb": "one.deb", "two.deb": "two.deb"} == during
    assert before == described(cache)


HOSTILE = """cd /var/cache/packages
ln -s /etc/passwd link.deb
ln -s /var/cache/packages/good.deb loop.deb
mkdir directory.deb
echo inside > directory.deb/inside.deb
echo hidden > .hidden.deb
echo option > -rf.deb
echo odd > 'o d d.deb'
echo line > 'li
ne.deb'
echo lock > lock
: > empty.deb
echo good > good.deb
chmod 6777 good.deb
ln good.deb twin.deb
"""


@pytest_twisted.ensureDeferred
async def test_hostile_files_are_not_kept(workspace: Workspace, cache: Path) -> None:
    """Links, fifos, devices, directories, strange names and empty files stay out; what is kept is a plain new file."""
    async with offering(workspace, cache) as (sandbox, binds):
        await run(sandbox, HOSTILE, binds=binds)
        upper = workspace.directory / "packages" / "upper"
        os.mkfifo(upper / "fifo.deb")
        os.mknod(upper / "device.deb", stat.S_IFCHR | 0o666, os.makedev(1, 5))
        os.mknod(upper / "disk.deb", stat.S_IFBLK | 0o666, os.makedev(7, 0))
        os.chown(upper / "good.deb", 1234, 1234)
        os.setxattr(upper / "good.deb", "user.Librepo.checksum.sha256", b"a lie")
        counts = await sandbox.tree.keep_packages(".deb", ROOM)

    good = cache / "good.deb"
    status = good.stat()
    assert (2, 0) == counts
    assert {"one.deb", "two.deb", "good.deb", "twin.deb"} == set(content(cache))
    assert (0, 0, 0o644, 1) == (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode), status.st_nlink)
    assert [] == os.listxattr(good)


@pytest_twisted.ensureDeferred
async def test_a_wrong_file_is_replaced_by_what_a_build_got_instead(workspace: Workspace, cache: Path) -> None:
    """A file of the same size and other content gives way; builds that see the old one go on seeing it."""
    async with offering(workspace, cache, "partial") as (sandbox, binds):
        await run(sandbox, f"cd {TARGET.decode()}; rm partial/one.deb; printf ONE.DEB > one.deb", binds=binds)
        other = Workspace(workspace.directory.parent / "other", workspace.lowers)
        async with offering(other, cache, "partial") as (beside, same):
            counts = await sandbox.tree.keep_packages(".deb", ROOM)
            _, seen = await run(beside, f"cat {TARGET.decode()}/partial/one.deb", binds=same)

    assert (1, 0) == counts
    assert ("one.deb", "ONE.DEB") == (seen, content(cache)["one.deb"])


@pytest_twisted.ensureDeferred
async def test_a_trimmed_cache_changes_no_view(workspace: Workspace, cache: Path) -> None:
    """A file that goes while a build runs stays where the build sees it, and comes back as new."""
    async with offering(workspace, cache, "partial") as (sandbox, binds):
        for path in cache.iterdir():
            path.unlink()
        _, said = await run(sandbox, f"cd {TARGET.decode()}; mv partial/one.deb .; cat one.deb", binds=binds)
        counts = await sandbox.tree.keep_packages(".deb", ROOM)

    assert "one.deb" == said
    assert (1, 0) == counts
    assert {"one.deb": "one.deb"} == content(cache)


@pytest_twisted.ensureDeferred
async def test_two_builds_keep_the_same_file_at_once(workspace: Workspace, cache: Path) -> None:
    """Whoever is later, the file is whole, and nothing else is left."""
    other = Workspace(workspace.directory.parent / "other", workspace.lowers)
    script = f"dd if=/dev/zero of={TARGET.decode()}/big.deb bs=1M count=3"
    async with offering(workspace, cache) as (one, mount), offering(other, cache) as (two, same):
        await run(one, script, binds=mount)
        await run(two, script, binds=same)
        trees = (one.tree, two.tree)
        await gatherResults([Deferred.fromCoroutine(tree.keep_packages(".deb", 4 << 20)) for tree in trees])

    assert ["big.deb", "one.deb", "two.deb"] == sorted(os.listdir(cache))
    assert bytes(3 << 20) == (cache / "big.deb").read_bytes()


@pytest_twisted.ensureDeferred
async def test_no_more_is_kept_than_there_is_room_for(workspace: Workspace, cache: Path) -> None:
    """A build cannot fill the disk with holes: a file larger than the cache is left out, and so are too many."""
    async with offering(workspace, cache) as (sandbox, binds):
        await run(sandbox, f"cd {TARGET.decode()}; for n in 1 2 3; do echo $n > $n.deb; done", binds=binds)
        os.truncate(workspace.directory / "packages" / "upper" / "1.deb", 1 << 40)
        counts = await sandbox.tree.keep_packages(".deb", SMALLEST)

    assert (1, 0) == counts


@pytest_twisted.ensureDeferred
async def test_a_link_in_the_image_is_no_place_for_the_cache(workspace: Workspace, cache: Path) -> None:
    """Where the directory is a link, or below one, or a file, the build goes without."""
    async with opened(workspace) as sandbox:
        await run(sandbox, "mkdir -p /elsewhere/packages /var/cache; ln -s /elsewhere /var/link; echo > /var/file")
        await run(sandbox, "ln -s /elsewhere /var/cache/packages")
        targets = (TARGET, b"/var/link/packages", b"/var/file", b"/var/none")
        offers = [await sandbox.tree.offer_packages(target, cache, "") for target in targets]

    assert [None] * 4 == offers


@pytest_twisted.ensureDeferred
async def test_no_mount_is_left_on_the_host(workspace: Workspace, cache: Path) -> None:
    """The view exists in the build's own namespaces, and its workspace can be removed while the cache stays."""
    async with offering(workspace, cache):
        mounts = Path("/proc/self/mounts").read_text()
    subprocess.run(["rm", "-rf", "--one-file-system", "--", workspace.directory], check=True)

    assert str(workspace.directory) not in mounts
    assert {"one.deb": "one.deb", "two.deb": "two.deb"} == content(cache)
    assert {1} == {path.stat().st_nlink for path in cache.iterdir()}
