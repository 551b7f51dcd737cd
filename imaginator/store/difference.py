"""The difference of two trees, found by going down only where their nodes differ."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from imaginator.model.tree import Entry, NodeReader, join


class Difference(NamedTuple):
    """A path whose inodes differ; None stands for no inode."""

    path: bytes
    before: Entry | None
    after: Entry | None


def differences(before: Entry | None, after: Entry | None, read: NodeReader) -> Iterator[Difference]:
    """Every path at which two trees differ, parents first, siblings by name.

    What lies beneath a directory that only one tree has is told path by path.
    """
    pending = [(b"/", before, after)]
    while pending:
        path, old, new = pending.pop()
        if (old and old.inode) != (new and new.inode):
            yield Difference(path, old, new)
        olds, news = _children(old, read), _children(new, read)
        names = sorted(olds.keys() | news.keys(), reverse=True)
        pairs = ((name, olds.get(name), news.get(name)) for name in names)
        pending.extend((join(path, name), old, new) for name, old, new in pairs if old != new)


def _children(entry: Entry | None, read: NodeReader) -> dict[bytes, Entry]:
    return {child.name: child for child in read(entry.node).entries} if entry and entry.node else {}
