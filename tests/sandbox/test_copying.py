"""How files come into a tree: each rule of copying, and no way out of the root."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from imaginator.sandbox.beneath import Root
from imaginator.sandbox.copying import append_tree, copy_flat, copy_tree
from imaginator.sandbox.origin import NotCopyable, Origin


class Case:
    """A source directory, a tree, and a place outside both."""

    def __init__(self, folder: Path) -> None:
        self.source, self.tree, self.outside = (folder / name for name in ("source", "tree", "outside"))
        for directory in (self.source, self.tree, self.outside):
            directory.mkdir()
        self.root = Root(os.fsencode(self.tree))

    def copy(self) -> None:
        """Copy the source over the tree."""
        with Origin(os.fsencode(self.source)) as source:
            copy_tree(self.root, source, b"/")

    def append(self) -> list[bytes]:
        """Append the source's files to the tree's."""
        with Origin(os.fsencode(self.source)) as source:
            return append_tree(self.root, source)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """Empty directories."""
    return Case(tmp_path)


def put(path: Path, text: str = "", mode: int = 0o644) -> Path:
    """Make a file with its directories."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def mode(path: Path) -> int:
    """The permission bits."""
    return stat.S_IMODE(path.lstat().st_mode)


def test_equal_content_stays_untouched(case: Case) -> None:
    """Mode, owner, time and inode of a file with the same content stay."""
    put(case.source / "etc/motd", "same", 0o755)
    old = put(case.tree / "etc/motd", "same", 0o600)
    os.chown(old, 7, 8)
    os.utime(old, ns=(1, 2))
    before = old.stat()
    case.copy()

    after = old.stat()
    fields = ("st_ino", "st_mode", "st_uid", "st_gid", "st_mtime_ns")
    assert [getattr(before, name) for name in fields] == [getattr(after, name) for name in fields]


def test_other_content_is_replaced_by_a_new_file(case: Case) -> None:
    """Owner root, the source's mode without set-id bits, the time is now; another hard link keeps the old content."""
    put(case.source / "bin/tool", "new", 0o6775)
    old = put(case.tree / "bin/tool", "old", 0o600)
    os.chown(old, 7, 8)
    os.utime(old, ns=(1, 2))
    os.utime(case.source / "bin/tool", ns=(3, 4))
    os.link(old, case.tree / "bin/other")
    case.copy()

    new = old.stat()
    assert new.st_mtime_ns > 4
    assert ("new", 0o755, 0, 0) == (old.read_text(), mode(old), new.st_uid, new.st_gid)
    assert "old" == (case.tree / "bin/other").read_text()


def test_new_directories_belong_to_root_and_old_ones_keep_their_mode(case: Case) -> None:
    """0755 for what is made; what is there keeps mode and owner."""
    put(case.source / "old/x")
    put(case.source / "new/x")
    (case.source / "new").chmod(0o700)
    (case.tree / "old").mkdir(mode=0o711)
    os.chown(case.tree / "old", 5, 6)
    case.copy()

    assert (0o711, 5) == (mode(case.tree / "old"), (case.tree / "old").stat().st_uid)
    assert 0o755 == mode(case.tree / "new")


def test_a_link_at_the_destination_is_replaced(case: Case) -> None:
    """A file is never written through the link that is in its place."""
    put(case.source / "etc/x", "text")
    victim = put(case.outside / "victim", "safe")
    (case.tree / "etc").mkdir()
    (case.tree / "etc/x").symlink_to(victim)
    case.copy()

    assert "safe" == victim.read_text()
    assert not (case.tree / "etc/x").is_symlink()


def test_links_are_copied_as_links(case: Case) -> None:
    """An equal link stays, another one is replaced, whatever it points to."""
    (case.source / "same").symlink_to("/target")
    (case.source / "other").symlink_to("new-target")
    (case.tree / "same").symlink_to("/target")
    (case.tree / "other").symlink_to("old-target")
    before = (case.tree / "same").lstat().st_ino
    case.copy()

    assert before == (case.tree / "same").lstat().st_ino
    assert "new-target" == os.readlink(case.tree / "other")


@pytest.mark.parametrize("target", ["usr/bin", "/usr/bin", "../../usr/bin", "/../usr/bin"])
def test_a_link_to_a_directory_is_gone_through(case: Case, target: str) -> None:
    """``files/bin/x`` on a merged-/usr image lands in ``usr/bin/x``, the link stays, and the root is never left."""
    put(case.source / "bin/x", "text")
    (case.tree / "usr/bin").mkdir(parents=True)
    (case.tree / "bin").symlink_to(target)
    case.copy()

    assert "text" == (case.tree / "usr/bin/x").read_text()
    assert target == os.readlink(case.tree / "bin")


def test_a_link_to_the_host_leads_into_the_tree(case: Case) -> None:
    """An absolute link to a directory of the host makes nothing there; without such a directory it is an error."""
    put(case.source / "etc/x", "text")
    (case.tree / "etc").symlink_to(case.outside)
    with pytest.raises(FileExistsError):
        case.copy()

    assert [] == list(case.outside.iterdir())


def test_devices_are_refused(case: Case) -> None:
    """A fifo in a manifest is an error that names it."""
    os.mkfifo(case.source / "pipe")
    with pytest.raises(NotCopyable, match="/pipe"):
        case.copy()


def test_append_follows_the_images_link_and_keeps_the_file(case: Case) -> None:
    """The file behind the link grows; mode, owner and hard links stay."""
    put(case.source / "etc/hosts", "more\n")
    real = put(case.tree / "run/hosts", "first\n", 0o640)
    os.chown(real, 3, 4)
    os.link(real, case.tree / "twin")
    (case.tree / "etc").mkdir()
    (case.tree / "etc/hosts").symlink_to("/run/hosts")
    skipped = case.append()

    assert [] == skipped
    assert ("first\nmore\n", 0o640, 3) == (real.read_text(), mode(real), real.stat().st_uid)
    assert "first\nmore\n" == (case.tree / "twin").read_text()


def test_append_makes_what_is_missing_with_the_sources_mode(case: Case) -> None:
    """A missing file is made with the source's mode, its directories with 0755."""
    put(case.source / "etc/new.d/x", "text", 0o700)
    case.append()

    assert ("text", 0o700) == ((case.tree / "etc/new.d/x").read_text(), mode(case.tree / "etc/new.d/x"))


def test_append_makes_the_file_that_the_images_link_leads_to(case: Case) -> None:
    """A link to nothing is followed too, from one to the next, beneath the root; one that leads round is an error."""
    put(case.source / "etc/resolv.conf", "text")
    (case.tree / "etc").mkdir()
    (case.tree / "etc/resolv.conf").symlink_to("/../run/stub")
    (case.tree / "run").mkdir()
    (case.tree / "run/stub").symlink_to("new/real")
    case.append()

    assert "text" == (case.tree / "run/new/real").read_text()
    assert (case.tree / "etc/resolv.conf").is_symlink()
    (case.tree / "run/stub").unlink()
    (case.tree / "run/stub").symlink_to("../etc/resolv.conf")
    with pytest.raises(OSError, match="Too many levels"):
        case.append()


def test_append_skips_links_of_the_manifest(case: Case) -> None:
    """A link in the manifest is told and does nothing."""
    (case.source / "etc").mkdir()
    (case.source / "etc/x").symlink_to("/etc/passwd")

    assert [b"/etc/x"] == case.append()
    assert [] == list(case.tree.iterdir())


def test_scripts_are_copied_flat(case: Case) -> None:
    """Links are followed, hidden names and directories left out, the mode is given."""
    put(case.source / "real", "script")
    put(case.source / "scripts/10_plain", "plain", 0o600)
    (case.source / "scripts/20_link").symlink_to("../real")
    put(case.source / "scripts/.hidden")
    (case.source / "scripts/directory").mkdir()
    with Origin(os.fsencode(case.source), b"scripts") as source:
        names = copy_flat(case.root, source, b"/.scripts", 0o755)

    assert [b"10_plain", b"20_link"] == names
    assert ("script", 0o755) == ((case.tree / ".scripts/20_link").read_text(), mode(case.tree / ".scripts/10_plain"))


def test_removing_does_not_follow_links(case: Case) -> None:
    """Removing a directory that holds a link to the host leaves the host alone."""
    victim = put(case.outside / "victim", "safe")
    (case.tree / "d").mkdir()
    (case.tree / "d/link").symlink_to(case.outside)
    case.root.remove(b"/d")

    assert "safe" == victim.read_text()
    assert not (case.tree / "d").exists()
