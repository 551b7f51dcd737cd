"""Merging: a new image's tree from its source's and what changed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from imaginator.model.changes import Change, Content
from imaginator.model.errors import BuildFailed
from imaginator.model.image import Figures
from imaginator.model.tree import Inode, Kind, walk
from imaginator.store.merkle import (
    Base,
    Merged,
    Rules,
    computed_files,
    groups_to_look_up,
    merge,
    paths_to_collect,
)
from tests.support.store_parts import Forest

Tree = Mapping[bytes, Inode]
DIRECTORY = Inode(Kind.DIRECTORY, 0o755)
PLAIN = Rules()


def file(text: bytes = b"text", **fields: object) -> Inode:
    """A regular file as an image has it."""
    digest = hashlib.sha512(text).digest() if text else b""
    return replace(Inode(Kind.REGULAR, 0o644, size=len(text), object=digest), **fields)


def contents(changes: list[Change], rules: Rules, texts: Mapping[bytes, bytes]) -> list[Content]:
    """What collecting would answer."""
    return [
        Content(path, hashlib.sha512(texts[path]).digest(), len(texts[path]), True)
        for path in paths_to_collect(changes, rules)
    ]


def scanned(path: bytes, text: bytes = b"text", **fields: object) -> Change:
    """A regular file as a scan tells of it: its object is not known yet."""
    number = fields.pop("number", 0)
    return Change(path, replace(file(text, **fields), object=b""), False, number)  # type: ignore[arg-type]


def run(
    forest: Forest, tree: Tree | None, changes: list[Change], rules: Rules = PLAIN, text: bytes = b"text"
) -> Merged:
    """Merge ``changes``, whose files all hold ``text``, into ``tree``."""
    base = base_of(forest, tree) if tree else None
    merged = merge(
        base, changes, contents(changes, rules, dict.fromkeys((c.path for c in changes), text)), rules, forest
    )
    forest.nodes |= merged.nodes
    return merged


def base_of(forest: Forest, tree: Tree) -> Base:
    """A source image of this tree."""
    groups: dict[bytes, list[bytes]] = {}
    for path, inode in tree.items():
        if inode.link:
            groups.setdefault(inode.link, []).append(path)
    links = tuple(sorted(tuple(sorted(group)) for group in groups.values()))
    root = forest.plant(tree)
    return Base(root, links, figures_of(tree), frozenset(computed_files(root, forest)))


def figures_of(tree: Tree) -> Figures:
    """What an image of this tree counts."""
    leaves = [i for path, i in tree.items() if i.kind is not Kind.DIRECTORY and i.link in (b"", path)]
    directories = sum(inode.kind is Kind.DIRECTORY for inode in tree.values())
    return Figures(len(leaves), directories, sum(inode.size for inode in leaves))


def flat(forest: Forest, merged: Merged) -> dict[bytes, Inode]:
    """The merged tree as inodes by path."""
    return {path: entry.inode for path, entry in walk(merged.root, forest)}


# A model of a build: a tree, and edits of it that are told of as a scan would.

NAMES = [b"a", b"a-b", b"b"]
leaves = st.one_of(
    st.builds(
        lambda text, mode: file(text, mode=mode), st.sampled_from([b"", b"x", b"yy"]), st.sampled_from([0o644, 0o600])
    ),
    st.just(Inode(Kind.SYMLINK, 0o777, target=b"a")),
    st.just(Inode(Kind.FIFO, 0o600)),
)
shapes = st.recursive(leaves, lambda inner: st.dictionaries(st.sampled_from(NAMES), inner, max_size=3), max_leaves=8)
trees = st.dictionaries(st.sampled_from([*NAMES, b"tmp"]), shapes, max_size=4)


def flatten(shape: object, path: bytes = b"/") -> dict[bytes, Inode]:
    """Nested dictionaries as inodes by path."""
    if isinstance(shape, Inode):
        return {path: shape}
    assert isinstance(shape, dict)
    found = {path: DIRECTORY}
    for name, child in shape.items():
        found |= flatten(child, path.rstrip(b"/") + b"/" + name)
    return found


def difference(old: Tree, new: Tree) -> list[Change]:
    """What overlayfs would hold after a build that turned ``old`` into ``new``."""
    changes = [Change(b"/", new[b"/"])]
    for path in sorted(old.keys() | new.keys()):
        parent = path.rpartition(b"/")[0] or b"/"
        before, after = old.get(path), new.get(path)
        if path == b"/" or (after is None and (parent not in new or new[parent].kind is not Kind.DIRECTORY)):
            continue
        if after != before or (after is not None and after.kind is Kind.DIRECTORY):
            changes.append(Change(path, after and replace(after, object=b"")))
    return changes


def kept(tree: Tree, rules: Rules) -> dict[bytes, Inode]:
    """The model of a filter: what is left of a tree."""
    return {path: inode for path, inode in tree.items() if path == b"/" or rules.holds(path)}


@given(old=trees, new=trees, filtered=st.booleans())
def test_a_merge_equals_the_new_tree(old: dict[bytes, object], new: dict[bytes, object], filtered: bool) -> None:
    """Whatever a build did, merging its changes gives its tree without what is left out, rightly counted."""
    forest, rules = Forest(), Rules(left_out=(lambda path: path.endswith(b"/a-b")) if filtered else None)
    before, after = kept(flatten(old), Rules()), flatten(new)
    base, changes = base_of(forest, before), difference(before, after)
    known = {inode.object: inode for inode in after.values()}
    told = [
        Content(path, after[path].object, after[path].size, after[path].object in known)
        for path in paths_to_collect(changes, rules)
    ]

    merged = merge(base, changes, told, rules, forest)

    forest.nodes |= merged.nodes
    assert kept(after, rules) == flat(forest, merged)
    assert figures_of(kept(after, rules)) == merged.figures
    assert forest.plant(kept(after, rules)) == merged.root


def test_only_the_nodes_on_the_way_are_read_and_written() -> None:
    """A change in one directory leaves its siblings' nodes alone and unread."""
    forest = Forest()
    tree = {b"/": DIRECTORY, b"/etc": DIRECTORY, b"/etc/a": file(), b"/usr": DIRECTORY, b"/usr/b": file(b"b")}
    base = base_of(forest, tree)
    forest.read.clear()
    changes = [Change(b"/", DIRECTORY), Change(b"/etc", DIRECTORY), scanned(b"/etc/new")]

    merged = merge(base, changes, contents(changes, Rules(), {b"/etc/new": b"text"}), Rules(), forest)

    assert 2 == len(merged.nodes)
    assert 2 == len(forest.read)


def test_an_opaque_directory_hides_the_source() -> None:
    """What the source has beneath a directory that was made anew is gone."""
    forest = Forest()
    tree = {b"/": DIRECTORY, b"/d": DIRECTORY, b"/d/old": file()}

    merged = run(forest, tree, [Change(b"/", DIRECTORY), Change(b"/d", DIRECTORY, True), scanned(b"/d/new")])

    assert [b"/", b"/d", b"/d/new"] == list(flat(forest, merged))


def test_a_filter_reaches_what_did_not_change() -> None:
    """Paths of the source that the filter names leave the image, and the layer whites them out."""
    forest = Forest()
    tree = {b"/": DIRECTORY, b"/doc": DIRECTORY, b"/doc/a": file(), b"/keep": file()}

    merged = run(forest, tree, [], Rules(left_out=lambda path: path.startswith(b"/doc")))

    assert [b"/", b"/keep"] == list(flat(forest, merged))
    assert (b"/doc",) == merged.touches.absent


def test_what_is_under_tmp_and_sockets_stay_out() -> None:
    """They are taken out of the layer, too."""
    forest = Forest()
    changes = [Change(b"/", DIRECTORY), Change(b"/tmp", DIRECTORY), scanned(b"/tmp/x"), Change(b"/socket", None)]

    merged = run(forest, None, changes)

    assert [b"/", b"/tmp"] == list(flat(forest, merged))
    assert (b"/socket", b"/tmp/x") == merged.touches.absent


def test_a_computed_file_has_an_address_and_no_content() -> None:
    """The layer keeps an empty file with the same metadata."""
    forest = Forest()
    rules = Rules(computed={b"/c": b"host:1"})

    merged = run(forest, None, [Change(b"/", DIRECTORY), scanned(b"/c", mode=0o600)], rules)

    assert Inode(Kind.COMPUTED, 0o600, target=b"host:1") == flat(forest, merged)[b"/c"]
    assert (b"/c",) == merged.touches.empty


def test_a_computed_file_that_is_not_listed_again_is_ordinary() -> None:
    """It becomes an empty regular file with the same mode."""
    forest = Forest()
    tree = {b"/": DIRECTORY, b"/c": Inode(Kind.COMPUTED, 0o600, target=b"host:1")}

    merged = run(forest, tree, [])

    assert Inode(Kind.REGULAR, 0o600) == flat(forest, merged)[b"/c"]


@pytest.mark.parametrize(
    "tree",
    [
        {b"/": DIRECTORY},
        {b"/": DIRECTORY, b"/c": DIRECTORY},
        {b"/": DIRECTORY, b"/c": file(link=b"/b"), b"/b": file(link=b"/b")},
    ],
    ids=["missing", "directory", "two links"],
)
def test_a_computed_file_must_be_a_file_with_one_link(tree: Tree) -> None:
    """Anything else fails the build with the path."""
    with pytest.raises(BuildFailed, match="computed file /c"):
        run(Forest(), tree, [], Rules(computed={b"/c": b"host:1"}))


def test_a_touched_link_group_is_looked_up_and_named_anew() -> None:
    """Where the first name goes, the others form the group, and the layer gets it whole."""
    forest = Forest()
    tree = {b"/": DIRECTORY} | {path: file(link=b"/a") for path in (b"/a", b"/b", b"/c")}
    base = base_of(forest, tree)
    scan = [Change(b"/", DIRECTORY), Change(b"/a", None)]
    changes = [*scan, *(scanned(path, number=7) for path in (b"/b", b"/c"))]

    merged = run(forest, tree, changes)

    assert [(b"/a", b"/b", b"/c")] == groups_to_look_up(base, scan, Rules())
    assert ((b"/b", b"/c"),) == merged.links == merged.touches.groups
    assert b"/b" == flat(forest, merged)[b"/c"].link
    assert Figures(1, 1, 4) == merged.figures


def test_a_directory_that_goes_touches_the_groups_beneath_it() -> None:
    """A name may go with its directory; the one that is left has no group any more."""
    forest = Forest()
    tree = {b"/": DIRECTORY, b"/d": DIRECTORY, b"/d/a": file(link=b"/d/a"), b"/e": file(link=b"/d/a")}
    base = base_of(forest, tree)
    scan = [Change(b"/", DIRECTORY), Change(b"/d", None)]

    merged = run(forest, tree, [*scan, scanned(b"/e"), Change(b"/d/a", None)])

    assert [(b"/d/a", b"/e")] == groups_to_look_up(base, scan, Rules())
    assert () == merged.links
    assert ((b"/e",),) == merged.touches.groups
    assert file() == flat(forest, merged)[b"/e"]


def test_the_previous_images_time_is_kept() -> None:
    """Where nothing but the time differs, for files that changed, unless the filter says otherwise."""
    forest = Forest()
    previous = forest.plant({b"/": DIRECTORY, b"/f": file(mtime=5), b"/g": file(mtime=5), b"/h": file(b"h", mtime=5)})
    rules = Rules(previous=previous, keep_new_time=lambda path: path == b"/g")
    changes = [Change(b"/", DIRECTORY), *(scanned(path, mtime=9) for path in (b"/f", b"/g", b"/h"))]

    merged = run(forest, None, changes, rules)

    assert [5, 9, 9] == [flat(forest, merged)[path].mtime for path in (b"/f", b"/g", b"/h")]
    assert ((b"/f", 5),) == merged.touches.times


def test_the_previous_images_time_is_found_under_any_name() -> None:
    """Of regular files, device nodes and fifos; links and directories have no time that is kept."""
    forest = Forest()
    device = Inode(Kind.BLOCK, 0o600, device=7, mtime=5)
    link = Inode(Kind.SYMLINK, 0o777, target=b"x", mtime=5)
    kinds = {b"/device": device, b"/fifo": Inode(Kind.FIFO, 0o600, mtime=5), b"/link": link}
    previous = forest.plant({b"/": DIRECTORY, b"/second": file(mtime=5), **kinds})
    changes = [Change(path, replace(inode, mtime=9)) for path, inode in kinds.items()]
    linked = [scanned(path, mtime=9, number=1) for path in (b"/first", b"/second")]

    merged = run(forest, None, [Change(b"/", DIRECTORY), *changes, *linked], Rules(previous=previous))

    times = {path: inode.mtime for path, inode in flat(forest, merged).items() if path != b"/"}
    assert {b"/device": 5, b"/fifo": 5, b"/link": 9, b"/first": 5, b"/second": 5} == times
