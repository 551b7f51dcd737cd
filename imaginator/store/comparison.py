"""A tree as it was surveyed on the disk, against the tree that an image's nodes describe. Computes only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec.structs import replace

from imaginator.model.changes import Change
from imaginator.model.tree import Inode, Kind

Difference = tuple[bytes, str]
"""A path, and what is wrong with it."""

_FIELDS = {
    "kind": "kind",
    "mode": "mode",
    "uid": "owner",
    "gid": "group",
    "mtime": "time of modification",
    "size": "size",
    "target": "link target",
    "device": "device number",
    "attributes": "extended attributes",
}


def differences(expected: Mapping[bytes, Inode], found: Sequence[Change]) -> Iterator[Difference]:
    """Everything but content in which a tree is not its image, by path."""
    present = {change.path: change.inode for change in found}
    for path in sorted(expected.keys() | present.keys()):
        wanted, inode = expected.get(path), present.get(path)
        if wanted is None:
            yield path, "is not part of the image"
        elif inode is None:
            yield path, "is missing"
        elif wrong := _wrong_fields(wanted, inode):
            yield path, f"has another {', '.join(wrong)}"
    yield from _link_differences(expected, found)


def _wrong_fields(wanted: Inode, inode: Inode) -> list[str]:
    if wanted.kind is Kind.COMPUTED:  # an empty file in a layer
        wanted = replace(wanted, kind=Kind.REGULAR, target=b"", size=0)
    return [name for field, name in _FIELDS.items() if getattr(wanted, field) != getattr(inode, field)]


def _link_differences(expected: Mapping[bytes, Inode], found: Iterable[Change]) -> Iterator[Difference]:
    wanted = _groups((path, inode.link) for path, inode in expected.items() if inode.link)
    there = _groups((change.path, change.number) for change in found if change.number)
    for group in sorted(wanted ^ there):
        yield group[0], "has other hard links"


def _groups(names: Iterable[tuple[bytes, bytes | int]]) -> set[tuple[bytes, ...]]:
    """The sets of paths that share a key, those of one path left out."""
    groups: dict[bytes | int, list[bytes]] = {}
    for path, key in names:
        groups.setdefault(key, []).append(path)
    return {tuple(sorted(paths)) for paths in groups.values() if len(paths) > 1}


def files_by_number(expected: Mapping[bytes, Inode], found: Iterable[Change]) -> dict[bytes, int]:
    """The numbers of the regular files whose content the image knows, by path."""
    numbers = {}
    for change in found:
        wanted = expected.get(change.path)
        if wanted and wanted.object and change.inode and change.inode.kind is Kind.REGULAR:
            numbers[change.path] = change.number
    return numbers
