"""Trees that a build arranged against what is done to them from outside: nothing leaves them, mixes or hangs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet.defer import CancelledError, ensureDeferred

from imaginator.model.changes import Touches
from imaginator.model.errors import BuildFailed
from imaginator.sandbox.kernel.privileges import files_as
from imaginator.sandbox.limits import Limits
from imaginator.sandbox.sandbox import Profile, Sandbox, Workspace
from tests.support.real_reactor import reactor
from tests.support.sandboxes import opened

STAFF = 50


def folder(tmp_path: Path, name: str, *files: str) -> Path:
    """A directory with some files, each holding its own path."""
    top = tmp_path / name
    top.mkdir()
    for file in files:
        (top / file).parent.mkdir(parents=True, exist_ok=True)
        (top / file).write_text(file)
    return top


@contextmanager
def inside(sandbox: Sandbox, workspace: Workspace) -> Iterator[Path]:
    """The tree as its holder sees it; what is made there belongs to the image's root."""
    tree = Path(f"/proc/{sandbox._channel.pid}/root{workspace.tree}")
    with files_as(tree.stat().st_uid):
        yield tree


@pytest_twisted.ensureDeferred
async def test_looking_up_follows_no_link_of_the_tree(tmp_path: Path) -> None:
    """A path whose directory became a link to the host is gone, whatever lies there on the host."""
    host = folder(tmp_path, "host", "file")
    source = folder(tmp_path, "source", "a/file")
    workspace = Workspace(tmp_path / "build", (source,))
    async with opened(workspace) as sandbox:
        with inside(sandbox, workspace) as tree:
            shutil.rmtree(tree / "a")
            (tree / "a").symlink_to(host)

        (change,) = await sandbox.tree.lookup([b"/a/file"])

    assert change.inode is None


@pytest_twisted.ensureDeferred
async def test_finishing_follows_no_link_of_the_tree(tmp_path: Path) -> None:
    """What is to be absent beneath such a link is not removed on the host."""
    host = folder(tmp_path, "host", "deep/file")
    source = folder(tmp_path, "source", "a/deep/file")
    workspace = Workspace(tmp_path / "build", (source,))
    async with opened(workspace) as sandbox:
        with inside(sandbox, workspace) as tree:
            shutil.rmtree(tree / "a")
            (tree / "a").symlink_to(host)

        await sandbox.tree.finish(Touches(absent=(b"/a/deep/file",)))

    assert (host / "deep/file").is_file()


@pytest_twisted.ensureDeferred
async def test_a_directory_made_anew_gets_no_whiteouts(tmp_path: Path) -> None:
    """A file left out of an opaque directory is just gone: a whiteout there would be listed in every later build."""
    source = folder(tmp_path, "source", "a/left-out")
    workspace = Workspace(tmp_path / "build", (source,))
    async with opened(workspace) as sandbox:
        with inside(sandbox, workspace) as tree:
            shutil.rmtree(tree / "a")
            (tree / "a").mkdir()
            (tree / "a/left-out").touch()
            (tree / "a/kept").touch()
        await sandbox.tree.finish(Touches(absent=(b"/a/left-out",)))

    following = Workspace(tmp_path / "next", (workspace.upper, source))
    async with opened(following) as sandbox:
        with inside(sandbox, following) as tree:
            assert os.listdir(tree / "a") == ["kept"]


@pytest.mark.parametrize("absent", [(b"/a", b"/a/file"), (b"/a/file", b"/a")])
@pytest_twisted.ensureDeferred
async def test_a_path_and_what_is_below_it_may_both_be_absent(tmp_path: Path, absent: tuple[bytes, ...]) -> None:
    """The order in which they are told does not matter."""
    source = folder(tmp_path, "source", "a/file")
    workspace = Workspace(tmp_path / "build", (source,))
    async with opened(workspace) as sandbox:
        await sandbox.tree.write(b"/a/file", b"new")
        await sandbox.tree.finish(Touches(absent=absent))

    assert (workspace.upper / "a").is_char_device()


@pytest_twisted.ensureDeferred
async def test_a_set_group_id_directory_lends_its_group_to_nothing(tmp_path: Path) -> None:
    """What copying makes belongs to root, in Debian's /var/mail and /var/local too."""
    source = folder(tmp_path, "source")
    (source / "mail").mkdir()
    os.chown(source / "mail", 0, STAFF)
    (source / "mail").chmod(0o2775)
    manifest = folder(tmp_path, "manifest", "mail/file", "mail/made/file")
    (manifest / "mail/link").symlink_to("file")
    async with opened(Workspace(tmp_path / "build", (source,))) as sandbox:
        await sandbox.tree.copy_in(manifest)
        await sandbox.tree.write(b"/mail/written", b"")
        made = [await sandbox.tree.stat(b"/mail/" + name) for name in (b"file", b"made", b"link", b"written")]

    assert [inode and (inode.uid, inode.gid) for inode in made] == [(0, 0)] * 4


@pytest_twisted.ensureDeferred
async def test_appending_to_a_fifo_is_an_error(tmp_path: Path) -> None:
    """A fifo in the image is told, where opening it would wait for a reader for ever."""
    source = folder(tmp_path, "source")
    os.mkfifo(source / "pipe")
    manifest = folder(tmp_path, "manifest", "pipe")
    async with opened(Workspace(tmp_path / "build", (source,))) as sandbox:
        appending = ensureDeferred(sandbox.tree.append_in(manifest)).addTimeout(20, reactor)

        with pytest.raises(BuildFailed, match="/pipe: nothing can be appended"):
            await appending


@pytest_twisted.ensureDeferred
async def test_the_answer_to_a_cancelled_question_reaches_nobody_else(tmp_path: Path) -> None:
    """After a cancelled operation the next one gets its own answer."""
    source = folder(tmp_path, "source", *(f"file-{number}" for number in range(1000)))
    async with opened(Workspace(tmp_path / "build", (source,))) as sandbox:
        listing = ensureDeferred(sandbox.tree.survey())
        listing.cancel()
        with pytest.raises(CancelledError):
            await listing

        assert await sandbox.tree.read(b"/file-7", 100) == b"file-7"


@pytest_twisted.ensureDeferred
async def test_sentences_can_always_be_written_down(tmp_path: Path) -> None:
    """A name that is not UTF-8 is shown with escapes, so that history and replies can hold the error."""
    manifest = folder(tmp_path, "manifest")
    os.mkfifo(os.fsencode(manifest) + b"/bad-\xff")
    async with opened(Workspace(tmp_path / "build", (folder(tmp_path, "source"),))) as sandbox:
        with pytest.raises(BuildFailed) as caught:
            await sandbox.tree.copy_in(manifest)

    assert str(caught.value).encode().startswith(rb"/bad-\xff: ")


@pytest_twisted.ensureDeferred
async def test_limits_that_cannot_be_set_leave_no_holder(tmp_path: Path) -> None:
    """A control group's name may hold no line end: that is one sentence, and the holder has ended."""
    workspace = Workspace(tmp_path / "line\nend", (folder(tmp_path, "source"),))

    with pytest.raises(BuildFailed, match="limits cannot be set"):
        await Sandbox.open(reactor, workspace, Profile.MANIFEST, Limits(processes=100))

    assert holders_of(workspace) == []


def holders_of(workspace: Workspace) -> list[str]:
    """The processes that have the workspace on their command line."""
    name = os.fsencode(workspace.directory)
    return [entry.parent.name for entry in Path("/proc").glob("[0-9]*/cmdline") if name in _read(entry)]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


@pytest_twisted.ensureDeferred
async def test_more_layers_than_a_mount_can_name(tmp_path: Path) -> None:
    """Options that the kernel would cut off are told with the number of layers."""
    layers = tuple(folder(tmp_path, f"layer-{number:0>40}") for number in range(120))

    with pytest.raises(BuildFailed, match="120 layers"):
        await Sandbox.open(reactor, Workspace(tmp_path / "build", layers), Profile.MANIFEST, Limits())
