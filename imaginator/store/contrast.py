"""What two images differ in, as people want to know it: packages, and files by directory, with sizes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import NamedTuple

from imaginator.model.image import Image, Package
from imaginator.model.tree import Inode, Kind, NodeReader
from imaginator.store.difference import Difference, differences

_ASPECTS = {
    "mode": "mode",
    "uid": "owner",
    "gid": "group",
    "target": "target",
    "device": "device number",
    "attributes": "attributes",
    "link": "links",
    "mtime": "time",
}


class PackageChange(NamedTuple):
    """A package of which there is another version; an empty one stands for none."""

    name: str
    before: str
    after: str


class FileChange(NamedTuple):
    """A path at which the trees differ; None stands for no file."""

    path: bytes
    before: Inode | None
    after: Inode | None

    @property
    def kind(self) -> str:
        """In a word."""
        return "added" if self.before is None else "removed" if self.after is None else "changed"

    @property
    def growth(self) -> int:
        """By how many bytes of content there is more."""
        return _size(self.after) - _size(self.before)

    @property
    def aspects(self) -> list[str]:
        """In what a file differs from what it was."""
        if self.before is None or self.after is None:
            return []
        if self.before.kind is not self.after.kind:
            return ["kind"]
        content = ["content"] if self.before.object != self.after.object else []
        return content + [
            word for name, word in _ASPECTS.items() if getattr(self.before, name) != getattr(self.after, name)
        ]


class Sum(NamedTuple):
    """How many files are new, gone and different, and by how many bytes of content there is more."""

    added: int
    removed: int
    changed: int
    growth: int


class Directory(NamedTuple):
    """The files of one directory that differ."""

    path: bytes
    files: Sequence[FileChange]

    @property
    def sum(self) -> Sum:
        """Of its files."""
        return sum_of(self.files)


class Contrast(NamedTuple):
    """All that two images differ in; packages by name, directories in the order of the tree."""

    packages: Sequence[PackageChange]
    directories: Sequence[Directory]

    @property
    def sum(self) -> Sum:
        """Of all files."""
        return sum_of(file for directory in self.directories for file in directory.files)


def contrast(before: Image, after: Image, read: NodeReader) -> Contrast:
    """What ``after`` has that ``before`` has not, and the other way round; for a worker thread, since it reads nodes.

    Directories of which only the time differs are left out: it tells no more than the files in them.
    """
    found = map(_file_change, differences(before.root, after.root, read))
    told = sorted((change for change in found if not _is_shadow(change)), key=_by_directory)
    directories = [
        Directory(path, tuple(files)) for path, files in groupby(told, key=lambda change: _parent(change.path))
    ]
    return Contrast(package_changes(before.packages, after.packages), directories)


def package_changes(before: Iterable[Package], after: Iterable[Package]) -> list[PackageChange]:
    """The packages whose versions differ."""
    olds, news = ({package.name: package.version for package in packages} for packages in (before, after))
    changes = (
        PackageChange(name, olds.get(name, ""), news.get(name, "")) for name in sorted(olds.keys() | news.keys())
    )
    return [change for change in changes if change.before != change.after]


def sum_of(files: Iterable[FileChange]) -> Sum:
    """The numbers of some files."""
    kinds = {"added": 0, "removed": 0, "changed": 0}
    growth = 0
    for file in files:
        kinds[file.kind] += 1
        growth += file.growth
    return Sum(**kinds, growth=growth)


def _file_change(difference: Difference) -> FileChange:
    path, before, after = difference
    return FileChange(path, before.inode if before else None, after.inode if after else None)


def _is_shadow(change: FileChange) -> bool:
    return change.aspects == ["time"] and change.after is not None and change.after.kind is Kind.DIRECTORY


def _by_directory(change: FileChange) -> tuple[bytes, ...]:
    directory, _, name = change.path.rpartition(b"/")
    return (*directory.split(b"/"), b"", name)


def _parent(path: bytes) -> bytes:
    return path.rpartition(b"/")[0] or b"/"


def _size(inode: Inode | None) -> int:
    return inode.size if inode else 0
