"""The tree of a new image, from its source's tree and what a build changed.

Only the nodes on the way to a change are read and written again; all others are shared with the source by their ids.
A filter is asked about the rest by whole directories (see `sieve`). Everything here computes only, but for the
`NodeReader`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from msgspec.structs import replace

from imaginator.model.changes import Change, Content, Touches
from imaginator.model.errors import BuildFailed
from imaginator.model.image import Figures
from imaginator.model.tree import Entry, Inode, Kind, Node, NodeReader, encode_node, join, walk
from imaginator.store.difference import differences
from imaginator.store.links import Group, Links, resolve_links, steps, touched_links

DEEPEST = 200
"""How many directories may lie in one another: far less than the interpreter's stack holds."""

_TIMED = frozenset({Kind.REGULAR, Kind.CHARACTER, Kind.BLOCK, Kind.FIFO})
"""What keeps the modification time that it had in the stream's previous image."""


_NAMES = {
    Kind.DIRECTORY: "a directory",
    Kind.SYMLINK: "a symbolic link",
    Kind.CHARACTER: "a device node",
    Kind.BLOCK: "a device node",
    Kind.FIFO: "a fifo",
}
"""What a computed file cannot be."""


class Base(NamedTuple):
    """What a merge knows of the source image; ``computed`` are the paths of its computed files."""

    root: Entry
    links: tuple[Group, ...] = ()
    figures: Figures = Figures()
    computed: frozenset[bytes] = frozenset()


def _nothing(_path: bytes) -> bool:
    return False


def _unknown(_path: bytes, _node: bytes) -> bool:
    return False


class Rules(NamedTuple):
    """What an image is to hold.

    ``left_out``: the filter, None where there is none. ``spares``: whether it is known to leave out nothing beneath a
    directory, given by path and node. ``computed``: source address by path. ``previous``: the root of the stream's
    previous image, whose times are kept but where ``keep_new_time`` says otherwise.
    """

    left_out: Callable[[bytes], bool] | None = None
    spares: Callable[[bytes, bytes], bool] = _unknown
    computed: Mapping[bytes, bytes] = {}
    previous: Entry | None = None
    keep_new_time: Callable[[bytes], bool] = _nothing

    def leaves_out(self, path: bytes) -> bool:
        """Whether a path stays out by itself, whatever its ancestors do."""
        return path.startswith(b"/tmp/") or (self.left_out is not None and self.left_out(path))

    def spares_below(self, path: bytes, node: bytes) -> bool:
        """Whether nothing of an image's directory stays out."""
        return self.left_out is None or self.spares(path, node)

    def holds(self, path: bytes) -> bool:
        """Whether neither a path nor an ancestor of it stays out."""
        if self.left_out is None:
            return not path.startswith(b"/tmp/")
        return not any(self.leaves_out(step) for step in steps(path))


class Merged(NamedTuple):
    """A new image's tree: its root, the nodes that its source lacks, link groups, computed files, the layer's
    touches, and counts.
    """

    root: Entry
    nodes: dict[bytes, bytes]
    links: tuple[Group, ...]
    computed: tuple[bytes, ...]
    touches: Touches
    figures: Figures


_NO_CHILDREN: dict[bytes, Edit] = {}
"""Stays empty: most edits are of files, and there may be many."""


class Edit:
    """What happens at a path and beneath it; without a change, the source's inode is looked at again."""

    __slots__ = ("change", "children")

    def __init__(self) -> None:
        self.change: Change | None = None
        self.children: dict[bytes, Edit] = _NO_CHILDREN

    def at(self, path: bytes) -> Edit:
        """The edit of an absolute path, made together with those above it."""
        edit = self
        for name in path.split(b"/"):
            if name:
                edit = edit._child(name)
        return edit

    def _child(self, name: bytes) -> Edit:
        if self.children is _NO_CHILDREN:
            self.children = {}
        child = self.children.get(name)
        if child is None:
            child = self.children[name] = Edit()
        return child


def groups_to_look_up(base: Base | None, changes: Iterable[Change], rules: Rules) -> list[Group]:
    """The source's link groups that a build touched: their paths are to be looked up before `merge`."""
    return touched_links(base.links, changes, rules.leaves_out) if base else []


def paths_to_collect(changes: Iterable[Change], rules: Rules) -> list[bytes]:
    """The files whose content has to be read: regular, not empty, part of the image, one name of each."""
    found: dict[int | bytes, bytes] = {}
    for path, inode, _, number in changes:
        if inode is not None and inode.kind is Kind.REGULAR and inode.size and path not in rules.computed:
            key = number or path
            if path < found.get(key, path + b"/") and rules.holds(path):
                found[key] = path
    return sorted(found.values())


def paths_with_older_time(base: Base, rules: Rules, read: NodeReader) -> list[bytes]:
    """The source's files that seem to differ from the previous image's in their time alone: they are to be looked up.

    What the build itself changed is compared when it is merged.
    """
    if rules.previous is None:
        return []
    found = differences(rules.previous, base.root, read)
    return [path for path, old, new in found if old and new and _lends(old.inode, new.inode)]


def _lends(old: Inode, new: Inode) -> bool:
    """Whether a file that is otherwise the same gets the time that it had."""
    return new.kind in _TIMED and old.mtime != new.mtime and replace(old, mtime=new.mtime, link=new.link) == new


def computed_files(root: Entry, read: NodeReader) -> dict[bytes, bytes]:
    """The source address of every computed file of a tree, by path."""
    return {path: entry.inode.target for path, entry in walk(root, read) if entry.inode.kind is Kind.COMPUTED}


def merge(
    base: Base | None, changes: Iterable[Change], contents: Iterable[Content], rules: Rules, read: NodeReader
) -> Merged:
    """The tree that ``changes`` make of ``base`` (None: of nothing).

    ``changes`` hold the upper's paths and every path of `groups_to_look_up`, ``contents`` what `paths_to_collect`
    named. Raises `BuildFailed` where a computed file is not a regular file with one name.
    """
    by_path = {change.path: change for change in changes}
    links = _links(base, by_path, rules)
    merger = _Merger(links, {content.path: content for content in contents}, rules, read)
    merger.figures = replace(base.figures, objects_new=0, objects_known=0) if base else Figures()
    return merger.merge(base, _edits(base, by_path.values(), rules))


def _links(base: Base | None, changes: Mapping[bytes, Change], rules: Rules) -> Links:
    present = [
        change
        for change in changes.values()
        if change.inode is not None and change.inode.kind is not Kind.DIRECTORY and rules.holds(change.path)
    ]
    touched = groups_to_look_up(base, changes.values(), rules)
    return resolve_links(base.links if base else (), touched, present)


def _edits(base: Base | None, changes: Iterable[Change], rules: Rules) -> Edit:
    top = Edit()
    for change in changes:
        top.at(change.path).change = change
    for path in base.computed if base else ():
        top.at(path)
    for path in rules.computed:
        top.at(path)
    return top


class _Merger:
    """One merge; the methods go down the tree once."""

    def __init__(self, links: Links, contents: Mapping[bytes, Content], rules: Rules, read: NodeReader) -> None:
        self.figures = Figures()
        self._links = links
        self._contents = contents
        self._rules = rules
        self._read = read
        self._previous = _Finder(rules.previous, read)
        self._nodes: dict[bytes, bytes] = {}
        self._absent: list[bytes] = []
        self._empty: list[bytes] = []
        self._times: list[tuple[bytes, int]] = []
        self._computed: set[bytes] = set()

    def merge(self, base: Base | None, edits: Edit) -> Merged:
        root = self._entry(b"/", base.root if base else None, edits)
        if root is None or root.inode.kind is not Kind.DIRECTORY:
            raise BuildFailed("/ is gone from the image: expected a directory")
        if missing := sorted(self._rules.computed.keys() - self._computed):
            where = "there" if self._rules.holds(missing[0]) else "in the image: its filter leaves it out"
            raise BuildFailed(f"computed file {_shown(missing[0])}: expected a regular file, found none {where}")
        empty = tuple(sorted(self._empty))
        touches = Touches(tuple(sorted(self._absent)), self._links.touched, empty, tuple(sorted(self._times)))
        return Merged(root, self._nodes, self._links.all, tuple(sorted(self._computed)), touches, self.figures)

    def _entry(self, path: bytes, base: Entry | None, edit: Edit | None, depth: int = 0) -> Entry | None:
        """What becomes of a path that changed, that a filter has to see, or that has such paths beneath it."""
        change = edit.change if edit else None
        inode = change.inode if change else base.inode if base else None
        if inode is None or (path != b"/" and self._rules.leaves_out(path)):
            self._leave_out(path, base, change)
            return None
        name = path.rpartition(b"/")[2]
        if inode.kind is Kind.DIRECTORY:
            if path in self._rules.computed:
                raise _not_to_be_computed(path, inode)
            return Entry(name, inode, self._directory(path, base, edit, depth))
        if base is not None:
            self._count_tree(path, base, -1)
        inode = self._leaf(path, inode, change)
        self._count(path, inode, 1)
        return Entry(name, inode)

    def _leave_out(self, path: bytes, base: Entry | None, change: Change | None) -> None:
        if base is not None:
            self._count_tree(path, base, -1)
        if base is not None or change is not None:
            self._absent.append(path)

    def _directory(self, path: bytes, base: Entry | None, edit: Edit | None, depth: int) -> bytes:
        """The id of the node of a directory that is or was made here."""
        # Lets the reactor's thread in: waiting for the interpreter's own switch, it was held up for 50 ms (make bench).
        time.sleep(0)
        if depth > DEEPEST:
            raise BuildFailed(f"{_shown(path)}: directories more than {DEEPEST} deep")
        change = edit.change if edit else None
        if base is not None and (base.inode.kind is not Kind.DIRECTORY or (change and change.opaque)):
            self._count_tree(path, base, -1)
            base = None
        if base is None:
            self._count(path, Inode(Kind.DIRECTORY, 0), 1)
        if base is not None and not (edit and edit.children) and self._rules.spares_below(path, base.node):
            return base.node
        return self._node(path, base.node if base else b"", edit.children if edit else {}, depth + 1)

    def _node(self, path: bytes, source: bytes, edits: Mapping[bytes, Edit], depth: int) -> bytes:
        old = {entry.name: entry for entry in self._read(source).entries} if source else {}
        entries = []
        for name in sorted(old.keys() | edits.keys()):
            base, edit = old.get(name), edits.get(name)
            untouched = edit is None and self._rules.left_out is None
            entry = base if untouched else self._entry(join(path, name), base, edit, depth)
            if entry is not None:
                entries.append(entry)
        node, data = encode_node(Node(tuple(entries)))
        if node != source:
            self._nodes[node] = data
        return node

    def _leaf(self, path: bytes, inode: Inode, change: Change | None) -> Inode:
        if change is not None:
            names = self._links.names.get(path, (path,))
            inode = replace(inode, link=names[0] if len(names) > 1 else b"")
            if path not in self._rules.computed:
                inode = self._with_old_time(names, self._with_content(names, inode))
                if path == names[0] and inode.mtime != change.inode.mtime:  # type: ignore[union-attr]
                    self._times.append((path, inode.mtime))
        if path in self._rules.computed:
            return self._as_computed(path, inode)
        return replace(inode, kind=Kind.REGULAR, target=b"") if inode.kind is Kind.COMPUTED else inode

    def _with_content(self, names: Group, inode: Inode) -> Inode:
        if inode.kind is not Kind.REGULAR or not inode.size:
            return inode
        content = self._contents[names[0]]
        return replace(inode, object=content.digest, size=content.size)

    def _with_old_time(self, names: Group, inode: Inode) -> Inode:
        """``inode`` with the time of the previous image's file, where nothing else differs."""
        if self._rules.previous is None or inode.kind not in _TIMED or any(map(self._rules.keep_new_time, names)):
            return inode
        for name in names:
            old = self._previous.find(name)
            if old is not None and replace(old, mtime=inode.mtime, link=inode.link) == inode:
                return replace(inode, mtime=old.mtime)
        return inode

    def _as_computed(self, path: bytes, inode: Inode) -> Inode:
        if inode.kind not in (Kind.REGULAR, Kind.COMPUTED) or inode.link:
            raise _not_to_be_computed(path, inode)
        self._computed.add(path)
        if inode.size:
            self._empty.append(path)
        address = self._rules.computed[path]
        return replace(inode, kind=Kind.COMPUTED, size=0, object=b"", target=address)

    def _count_tree(self, path: bytes, top: Entry, sign: int) -> None:
        pending = [(path, top)]
        while pending:
            place, entry = pending.pop()
            self._count(place, entry.inode, sign)
            if entry.node:
                pending.extend((join(place, child.name), child) for child in self._read(entry.node).entries)

    def _count(self, path: bytes, inode: Inode, sign: int) -> None:
        """Count an inode, under the first of its names only."""
        figures = self.figures
        if inode.kind is Kind.DIRECTORY:
            self.figures = replace(figures, directories=figures.directories + sign)
        elif inode.link in (b"", path):
            self.figures = replace(figures, files=figures.files + sign, bytes=figures.bytes + sign * inode.size)


class _Finder:
    """Finds inodes in a tree by path, remembering the directories that it came through."""

    def __init__(self, root: Entry | None, read: NodeReader) -> None:
        self._root = root
        self._read = read
        self._directories: dict[bytes, dict[bytes, Entry]] = {}

    def find(self, path: bytes) -> Inode | None:
        entry = self._root
        for name in path.split(b"/")[1:]:
            if entry is None or not entry.node:
                return None
            entry = self._names(entry.node).get(name)
        return entry.inode if entry else None

    def _names(self, node: bytes) -> dict[bytes, Entry]:
        if node not in self._directories:
            self._directories[node] = {entry.name: entry for entry in self._read(node).entries}
        return self._directories[node]


def _not_to_be_computed(path: bytes, inode: Inode) -> BuildFailed:
    found = f"one of several links, {_shown(inode.link)} is the first" if inode.link else _NAMES[inode.kind]
    return BuildFailed(f"computed file {_shown(path)}: expected a regular file with one link, found {found}")


def _shown(path: bytes) -> str:
    return path.decode(errors="backslashreplace")
