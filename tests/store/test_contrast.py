"""What two images differ in, for people."""

from __future__ import annotations

from datetime import UTC, datetime

from msgspec.structs import replace

from imaginator.model.image import Image, Package
from imaginator.model.tree import Inode, Kind
from imaginator.store.contrast import Contrast, PackageChange, Sum, contrast
from tests.support.store_parts import Forest

START = datetime(2026, 11, 22, tzinfo=UTC)
DIRECTORY = Inode(Kind.DIRECTORY, 0o755)
FILE = Inode(Kind.REGULAR, 0o644, size=10, object=b"a" * 64)
BEFORE = {
    b"/": DIRECTORY,
    b"/bin": DIRECTORY,
    b"/bin/gone": FILE,
    b"/bin/same": FILE,
    b"/etc": DIRECTORY,
    b"/etc/a": DIRECTORY,
    b"/etc/a/deep": FILE,
    b"/etc/b": FILE,
}


def compared(after: dict[bytes, Inode], before: dict[bytes, Inode] = BEFORE) -> Contrast:
    """The contrast of two trees."""
    forest = Forest()
    old, new = (Image(name="s/1", root=forest.plant(tree), created_at=START) for tree in (before, after))
    return contrast(old, new, forest)


def test_files_by_directory() -> None:
    """What is new, gone and different, with how, in the order of the tree; and how much larger it is."""
    after = {
        **BEFORE,
        b"/bin": replace(DIRECTORY, mtime=5),
        b"/bin/new": replace(FILE, size=100),
        b"/etc/a/deep": replace(FILE, size=4, object=b"b" * 64, mode=0o600, mtime=9),
        b"/etc/b": Inode(Kind.SYMLINK, 0o777, target=b"a"),
    }
    del after[b"/bin/gone"]
    found = compared(after)

    assert [b"/bin", b"/etc", b"/etc/a"] == [directory.path for directory in found.directories]
    assert [
        [(b"/bin/gone", "removed", [], -10), (b"/bin/new", "added", [], 100)],
        [(b"/etc/b", "changed", ["kind"], -10)],
        [(b"/etc/a/deep", "changed", ["content", "mode", "time"], -6)],
    ] == [[(file.path, file.kind, file.aspects, file.growth) for file in one.files] for one in found.directories]
    assert Sum(1, 1, 2, 74) == found.sum


def test_directories() -> None:
    """Of a directory that differs in more than its time, that is told, as is a new one with all that is in it."""
    after = {**BEFORE, b"/bin": replace(DIRECTORY, mode=0o700, mtime=5), b"/opt": DIRECTORY, b"/opt/x": FILE}

    assert [(b"/bin", ["mode", "time"]), (b"/opt", []), (b"/opt/x", [])] == [
        (file.path, file.aspects) for directory in compared(after).directories for file in directory.files
    ]


def test_the_root() -> None:
    """Its own difference is listed, and so are files right below it."""
    after = {**BEFORE, b"/": replace(DIRECTORY, mode=0o700), b"/new": FILE}

    assert [(b"/", [b"/", b"/new"])] == [
        (directory.path, [file.path for file in directory.files]) for directory in compared(after).directories
    ]


def test_packages() -> None:
    """Versions that differ; an empty one stands for none."""
    forest = Forest()
    root = forest.plant({b"/": DIRECTORY})
    before, after = (
        Image(name="s/1", root=root, created_at=START, packages=tuple(Package(*words) for words in packages))
        for packages in ([("a", "1"), ("b", "1"), ("c", "1")], [("b", "2"), ("c", "1"), ("d", "1")])
    )

    assert [PackageChange("a", "1", ""), PackageChange("b", "1", "2"), PackageChange("d", "", "1")] == (
        contrast(before, after, forest).packages
    )
