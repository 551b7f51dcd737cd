"""Trees and manifests made to lead copying out of either: a table of (entry point, defect), and races."""

# A row does several things that each return nothing.
# mypy: disable-error-code="func-returns-value"

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from imaginator.sandbox.beneath import Root
from imaginator.sandbox.copying import append_tree, copy_flat, copy_tree
from imaginator.sandbox.origin import NotCopyable, Origin

RACE_SECONDS = float(os.environ.get("IMAGINATOR_RACE_SECONDS", "1.5"))
"""How long each race is run; ``make fuzz`` takes its time."""

MANY = 100_000

HOST = "what only the host may read"


class Place:
    """A manifest, an image's tree, and the host beside them."""

    def __init__(self, folder: Path) -> None:
        self.manifest, self.tree, self.host = (folder / name for name in ("manifest", "tree", "host"))
        self.files, self.scripts = self.manifest / "files", self.manifest / "scripts"
        for directory in (self.files, self.scripts, self.tree, self.host):
            directory.mkdir(parents=True)
        (self.host / "file").write_text(HOST)
        self.root = Root(os.fsencode(self.tree))

    def copy(self, part: bytes = b"files") -> None:
        """Copy a part of the manifest over the tree."""
        with Origin(os.fsencode(self.manifest), part) as source:
            copy_tree(self.root, source, b"/")

    def append(self) -> None:
        """Append the manifest's files to the tree's."""
        with Origin(os.fsencode(self.manifest), b"files") as source:
            append_tree(self.root, source)

    def run(self) -> None:
        """Bring the scripts."""
        with Origin(os.fsencode(self.manifest), b"scripts") as source:
            copy_flat(self.root, source, b"/.scripts", 0o755)

    def remove(self) -> None:
        """Remove the tree's directory ``d``."""
        self.root.remove(b"/d")

    def host_is_whole(self) -> bool:
        """Whether the host is as it was, and nothing of it is in the tree."""
        # Deeper than Python's own walks can go.
        search = ["find", str(self.tree), "-type", "f", "-size", "-2048", "-execdir", "grep", "-lF", HOST, "{}", "+"]
        found = subprocess.run(search, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False).stdout
        return (["file"], HOST, b"") == (os.listdir(self.host), (self.host / "file").read_text(), found)


def put(path: Path, text: str = "new") -> None:
    """A file with its directories."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def device(path: Path) -> None:
    """The null device."""
    os.mknod(path, 0o20666, os.makedev(1, 3))


def listening(path: Path) -> None:
    """A socket."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def linked(path: Path, target: Path | str) -> None:
    """A link with its directories."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.symlink_to(target)


def ladder(directory: Path, steps: int) -> None:
    """Links that each go through the one before, twice."""
    directory.mkdir(exist_ok=True)
    (directory / "l0").mkdir()
    for step in range(1, steps):
        (directory / f"l{step}").symlink_to(f"l{step - 1}/../l{step - 1}")


def deep(directory: Path, levels: int) -> None:
    """A directory in a directory, deeper than a path can name."""
    here = os.open(directory, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)


class Row(NamedTuple):
    """What is done with a place that ``make`` prepared; it ends with ``error``, or well, and then ``good`` holds."""

    entry: str
    defect: str
    make: Callable[[Place], object]
    error: str = ""
    good: Callable[[Place], bool] = lambda place: True


REFUSED = "neither a file, a directory nor a symbolic link"
LEAVES = "a symbolic link that leaves the manifest"


def text(path: Path) -> str:
    """A file's text, empty for none."""
    return path.read_text() if path.is_file() else ""


ROWS = [
    Row("copy", "a fifo", lambda p: os.mkfifo(p.files / "x"), f"/files/x: {REFUSED}"),
    Row("copy", "a device", lambda p: device(p.files / "x"), f"/files/x: {REFUSED}"),
    Row("copy", "a socket", lambda p: listening(p.files / "x"), f"/files/x: {REFUSED}"),
    Row(
        "copy",
        "a fifo deep down",
        lambda p: (put(p.files / "a/b"), os.mkfifo(p.files / "a/x")),
        f"/files/a/x: {REFUSED}",
    ),
    Row("copy", "the part is a link to the host", lambda p: linked(p.files, p.host), LEAVES),
    Row("copy", "the part is a link upwards", lambda p: linked(p.files, "../host"), LEAVES),
    Row("copy", "the part is a link to itself", lambda p: linked(p.files, "files"), LEAVES),
    Row("copy", "the part is a file", lambda p: (p.files.rmdir(), put(p.files)), "Not a directory"),
    Row(
        "copy",
        "a link to the host stays a link",
        lambda p: linked(p.files / "x", p.host / "file"),
        good=lambda p: os.readlink(p.tree / "x") == str(p.host / "file"),
    ),
    Row(
        "copy",
        "a hard link to another file is a copy",
        lambda p: (put(p.files / "x"), os.link(p.files / "x", p.files / "y")),
        good=lambda p: text(p.tree / "y") == "new" and (p.tree / "y").stat().st_nlink == 1,
    ),
    Row(
        "copy",
        "a set-id file",
        lambda p: (put(p.files / "x"), (p.files / "x").chmod(0o6755)),
        good=lambda p: (p.tree / "x").stat().st_mode & 0o7777 == 0o755,
    ),
    Row(
        "copy",
        "a name of 255 bytes",
        lambda p: put(p.files / ("n" * 255)),
        good=lambda p: text(p.tree / ("n" * 255)) == "new",
    ),
    Row(
        "copy",
        "the name of a temporary file",
        lambda p: (put(p.files / ".imaginator-new"), put(p.tree / ".imaginator-new", "old")),
        good=lambda p: text(p.tree / ".imaginator-new") == "new",
    ),
    Row(
        "copy",
        "a name that is not UTF-8",
        lambda p: put(p.files / os.fsdecode(b"x\xff")),
        good=lambda p: text(p.tree / os.fsdecode(b"x\xff")) == "new",
    ),
    Row("copy", "a thousand directories deep", lambda p: deep(p.files, 1000)),
    Row("copy", "deeper than a path", lambda p: deep(p.files, 2100), "File name too long"),
    Row(
        "copy",
        "a sparse file of 1 GB",
        lambda p: (put(p.files / "x"), os.truncate(p.files / "x", 1 << 30)),
        good=lambda p: (p.tree / "x").stat().st_size == 1 << 30 and (p.tree / "x").stat().st_blocks < 1000,
    ),
    Row(
        "copy",
        "the tree's parent is a link to the host",
        lambda p: (put(p.files / "d/x"), linked(p.tree / "d", p.host)),
        "File exists",
    ),
    Row(
        "copy",
        "the tree's parent is a link upwards",
        lambda p: (put(p.files / "d/x"), linked(p.tree / "d", "../../../host")),
        "File exists",
    ),
    Row(
        "copy",
        "the tree's parent is a link to itself",
        lambda p: (put(p.files / "d/x"), linked(p.tree / "d", "d")),
        "symbolic links",
    ),
    Row(
        "copy",
        "the tree's parent is the top of a ladder",
        lambda p: (put(p.files / "l99/x"), ladder(p.tree, 100)),
        "symbolic links",
    ),
    Row(
        "copy",
        "the tree's file is a link to the host",
        lambda p: (put(p.files / "x"), linked(p.tree / "x", p.host / "file")),
        good=lambda p: text(p.tree / "x") == "new" and not (p.tree / "x").is_symlink(),
    ),
    Row(
        "copy",
        "the tree's file is a hard link",
        lambda p: (put(p.files / "x"), put(p.tree / "y", "old"), os.link(p.tree / "y", p.tree / "x")),
        good=lambda p: (text(p.tree / "x"), text(p.tree / "y")) == ("new", "old"),
    ),
    Row(
        "copy",
        "the tree's file is a device",
        lambda p: (put(p.files / "x"), device(p.tree / "x")),
        good=lambda p: text(p.tree / "x") == "new",
    ),
    Row(
        "copy",
        "/etc becomes a link",
        lambda p: (put(p.tree / "etc/passwd"), linked(p.files / "etc", p.host)),
        good=lambda p: os.readlink(p.tree / "etc") == str(p.host),
    ),
    Row("append", "a fifo", lambda p: os.mkfifo(p.files / "x"), f"/files/x: {REFUSED}"),
    Row("append", "the part is a link to the host", lambda p: linked(p.files, p.host), LEAVES),
    Row(
        "append",
        "a link to the host is skipped",
        lambda p: linked(p.files / "x", p.host / "file"),
        good=lambda p: not os.listdir(p.tree),
    ),
    Row(
        "append",
        "the tree's file is a link to the host",
        lambda p: (put(p.files / "x"), linked(p.tree / "x", p.host / "file")),
        good=lambda p: text(p.tree / (p.host / "file").relative_to("/")) == "new",
    ),
    Row(
        "append",
        "the tree's file is a link upwards",
        lambda p: (put(p.files / "x"), linked(p.tree / "x", "../../host/new")),
        good=lambda p: text(p.tree / "host/new") == "new",
    ),
    Row(
        "append",
        "the tree's file is a fifo",
        lambda p: (put(p.files / "x"), os.mkfifo(p.tree / "x")),
        "nothing can be appended",
    ),
    Row(
        "append",
        "the tree's parent is a link upwards",
        lambda p: (put(p.files / "d/x"), linked(p.tree / "d", "../../host")),
        "File exists",
    ),
    Row("scripts", "a link to the host", lambda p: linked(p.scripts / "x", p.host / "file"), f"/scripts/x: {LEAVES}"),
    Row("scripts", "a link upwards", lambda p: linked(p.scripts / "x", "../../host/file"), f"/scripts/x: {LEAVES}"),
    Row("scripts", "a link through /proc", lambda p: linked(p.scripts / "x", "/proc/self/environ"), LEAVES),
    Row("scripts", "a link to itself", lambda p: linked(p.scripts / "x", "x"), LEAVES),
    Row("scripts", "a fifo", lambda p: os.mkfifo(p.scripts / "x"), f"/scripts/x: {REFUSED}"),
    Row("scripts", "the part is a link to the host", lambda p: linked(p.scripts, p.host), LEAVES),
    Row(
        "scripts",
        "a link within the manifest",
        lambda p: (put(p.manifest / "common"), linked(p.scripts / "x", "../common")),
        good=lambda p: text(p.tree / ".scripts/x") == "new",
    ),
    Row(
        "scripts",
        "/.scripts is a link to the host",
        lambda p: (put(p.scripts / "x"), linked(p.tree / ".scripts", p.host)),
        "File exists",
    ),
    Row(
        "remove",
        "links to the host",
        lambda p: linked(p.tree / "d/x", p.host),
        good=lambda p: not (p.tree / "d").exists(),
    ),
    Row(
        "remove",
        "a thousand directories deep",
        lambda p: ((p.tree / "d").mkdir(), deep(p.tree / "d", 1000)),
        good=lambda p: not (p.tree / "d").exists(),
    ),
    Row(
        "remove",
        "a link in place of the directory",
        lambda p: linked(p.tree / "d", p.host),
        good=lambda p: not (p.tree / "d").is_symlink(),
    ),
]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A place; what is deeper than shutil.rmtree can go is gone in the end."""
    place = Place(tmp_path)
    yield place
    subprocess.run(["rm", "-rf", place.manifest, place.tree], check=True)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.entry}-{row.defect}")
def test_nothing_leaves_the_tree_or_comes_from_the_host(row: Row, place: Place) -> None:
    """Each ends with one clear error or a correct result, and the host is neither read nor written."""
    row.make(place)
    act = {"copy": place.copy, "append": place.append, "scripts": place.run, "remove": place.remove}[row.entry]
    if row.error:
        with pytest.raises((NotCopyable, OSError)) as caught:
            act()
        assert row.error in str(caught.value)
    else:
        act()
        assert row.good(place)
    assert place.host_is_whole()


def test_pairs_are_distinct() -> None:
    """The table can be counted."""
    assert len(ROWS) == len({(row.entry, row.defect) for row in ROWS})


@pytest.fixture
def crowded() -> Iterator[Place]:
    """A manifest of a hundred thousand files, in memory: their number is the attack, not the disk."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        place = Place(Path(folder))
        for number in range(MANY):
            (place.files / str(number)).touch()
        yield place


def test_many_files(crowded: Place) -> None:
    """Files by the hundred thousand are just copied."""
    crowded.copy()

    assert MANY == len(os.listdir(crowded.tree))


SWAP = """
import ctypes, os, sys
libc = ctypes.CDLL(None)
pairs = [(path.encode(), path.encode() + b".spare") for path in sys.argv[1:]]
links = [os.readlink(spare) for _, spare in pairs]
while True:
    for (path, spare), link in zip(pairs, links):
        libc.renameat2(-100, path, -100, spare, 2)
        if not os.path.islink(path) and not os.path.islink(spare):
            os.unlink(spare)
            os.symlink(link, spare)
"""
"""Names, each in turn what it is and a link to the host, which is what its spare is; never is one of them absent."""


@contextmanager
def swapping(one: Path, other: Path) -> Iterator[None]:
    """Another process swaps both without end; if it cannot, that is an error."""
    process = subprocess.Popen([sys.executable, "-S", "-c", SWAP, one, other])
    try:
        yield
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


def careless_copy(place: Place) -> None:
    """What copying must not be: each path is looked up again and again from the top."""
    for path in sorted(place.files.rglob("*")):
        target = place.tree / path.relative_to(place.files)
        if path.is_dir():
            target.mkdir(exist_ok=True)
        elif path.is_file():
            target.write_text(path.read_text())


def raced(place: Place, copy: Callable[[], None], until: Callable[[], bool]) -> int:
    """How often the copy was tried before the time was over, or ``until`` held."""
    deadline, tries = time.monotonic() + RACE_SECONDS, 0
    while time.monotonic() < deadline and not until():
        tries += 1
        with suppress(OSError, NotCopyable):
            copy()
    return tries


def place_with_spares(folder: Path, in_tree: bool) -> tuple[Place, Path, Path]:
    """A directory and a file, of the tree or of the manifest, beside links to the host's."""
    place = Place(folder)
    put(place.files / "d/file", "new")
    put(place.files / "file", "new")
    put(place.tree / "d/file", "old")
    top = place.tree if in_tree else place.files
    (top / "d.spare").symlink_to(place.host)
    (top / "file.spare").symlink_to(place.host / "file")
    return place, top / "d", top / "file"


def lost(place: Place, in_tree: bool) -> bool:
    """Whether the host was written, or what it holds is where only the manifest's content belongs."""
    copied = [place.tree / "d/file", place.tree / "file"]
    read = not in_tree and any(path.resolve().is_relative_to(place.tree) and text(path) == HOST for path in copied)
    return read or ["file"] != os.listdir(place.host) or (place.host / "file").read_text() != HOST


@pytest.mark.parametrize("in_tree", [True, False], ids=["tree", "manifest"])
def test_races_lead_nowhere(tmp_path: Path, in_tree: bool) -> None:
    """Directories and files become links to the host and back while they are copied: it is neither read nor written."""
    place, one, other = place_with_spares(tmp_path, in_tree)
    put(place.tree / "file", "old")
    with swapping(one, other):
        tries = raced(place, place.copy, lambda: lost(place, in_tree))

    assert tries > 50
    assert not lost(place, in_tree)


@pytest.mark.parametrize("in_tree", [True, False], ids=["tree", "manifest"])
def test_the_same_races_are_lost_by_a_careless_copy(tmp_path: Path, in_tree: bool) -> None:
    """The races can be lost."""
    place, one, other = place_with_spares(tmp_path, in_tree)
    put(place.tree / "file", "old")
    with swapping(one, other):
        raced(place, lambda: careless_copy(place), lambda: lost(place, in_tree))

    assert lost(place, in_tree)
