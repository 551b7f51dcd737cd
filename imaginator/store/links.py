"""Hard-link groups: which of them a build touched, and what became of them.

A group is the sorted tuple of one file's names, called after the first. A group that a build touched, in any of its
names, is looked up under all its names in the merged tree; names with the same number are one file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from imaginator.model.changes import Change
from imaginator.model.tree import Kind

Group = tuple[bytes, ...]


class Links(NamedTuple):
    """The groups of a new image.

    ``all``: every group of two names or more. ``touched``: those that the build touched, and files that lost all
    their other names. ``names``: the group of each touched path.
    """

    all: tuple[Group, ...]
    touched: tuple[Group, ...]
    names: Mapping[bytes, Group]


def touched_links(groups: Iterable[Group], changes: Iterable[Change], left_out: Callable[[bytes], bool]) -> list[Group]:
    """The groups of the source that have a name which changed, is gone, or is left out of the new image."""
    by_path = {change.path: change for change in changes}

    def touched(path: bytes) -> bool:
        return path in by_path or any(left_out(step) or _hides(by_path.get(step)) for step in steps(path))

    return [group for group in groups if any(touched(path) for path in group)]


def resolve_links(groups: Iterable[Group], touched: Iterable[Group], present: Iterable[Change]) -> Links:
    """The new groups; ``present`` are files that changed, or were looked up for those ``touched`` of ``groups``."""
    old = set(touched)
    old_names = {path for group in old for path in group}
    clusters: dict[int | bytes, list[bytes]] = {}
    for change in present:
        if change.number or change.path in old_names:
            clusters.setdefault(change.number or change.path, []).append(change.path)
    new = sorted(tuple(sorted(names)) for names in clusters.values())
    kept = [group for group in groups if group not in old]
    every = sorted(kept + [group for group in new if len(group) > 1])
    return Links(tuple(every), tuple(new), {path: group for group in new for path in group})


def steps(path: bytes) -> Iterator[bytes]:
    """The path's ancestors below the root, and the path: ``/a``, ``/a/b``."""
    at = path.find(b"/", 1)
    while at > 0:
        yield path[:at]
        at = path.find(b"/", at + 1)
    yield path


def _hides(change: Change | None) -> bool:
    """Whether what the source has beneath a path is no longer to be seen."""
    if change is None:
        return False
    return change.opaque or change.inode is None or change.inode.kind is not Kind.DIRECTORY
