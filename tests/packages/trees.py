"""All that an image keeps of a tree but times, and where two trees differ.

A base tree and the changes over it are merged as the kernel does it, by a process with mounts of its own.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import stat
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple


class Entry(NamedTuple):
    """``links`` are the names of a file with several; ``data`` is its content's digest where that may be new."""

    kind: str
    mode: str
    owner: tuple[int, int]
    device: tuple[int, int]
    attributes: tuple[tuple[str, bytes], ...]
    links: tuple[str, ...]
    target: str
    data: str

    @property
    def metadata(self) -> Entry:
        """All but the content, where the content is of no account."""
        return self._replace(target="" if self.kind == "l" else self.target, data="")


Seen = dict[str, Entry]
_KINDS = {stat.S_IFREG: "f", stat.S_IFDIR: "d", stat.S_IFLNK: "l", stat.S_IFIFO: "p", stat.S_IFSOCK: "s"}
_MERGE = 'mount -t overlay overlay -o ro,lowerdir=upper:base,metacopy=off merged && exec "$@"'

_LOOK = f"from {__name__} import tell; tell('merged', 'contents')"


def written(upper: Path) -> set[str]:
    """Every path that a directory of changes holds."""
    return set(_paths(os.fspath(upper)))


def see(base: Path, build: Path, contents: Iterable[str]) -> Seen:
    """The tree of ``build/upper`` over ``base``, in a process of its own; ``contents`` are files to be read."""
    link = build / "base"
    if not link.is_symlink():
        link.symlink_to(base)
    (build / "contents").write_bytes(b"\0".join(map(os.fsencode, contents)))
    command = ["unshare", "--mount", "sh", "-c", _MERGE, "sh", sys.executable, "-c", _LOOK]
    environment = {**os.environ, "PYTHONPATH": os.fspath(Path(__file__).parents[2])}
    output = subprocess.run(command, cwd=build, env=environment, check=True, stdout=subprocess.PIPE).stdout
    seen: Seen = pickle.loads(output)  # from our own child
    return seen


def tell(root: str, contents: str) -> None:
    """Write a pickle of `Seen` to standard output; the file ``contents`` names the files to be read."""
    told = {os.fsdecode(name) for name in Path(contents).read_bytes().split(b"\0")}
    sys.stdout.buffer.write(pickle.dumps(_look(root, told)))


def _paths(root: str, below: str = "") -> Iterator[str]:
    with os.scandir(os.path.join(root, below)) as entries:
        for entry in entries:
            path = os.path.join(below, entry.name)
            yield path
            if entry.is_dir(follow_symlinks=False):
                yield from _paths(root, path)


def _look(root: str, contents: set[str]) -> Seen:
    paths = ["", *_paths(root)]
    names: dict[int, list[str]] = {}
    for path in paths:
        status = os.lstat(os.path.join(root, path))
        if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            names.setdefault(status.st_ino, []).append(path)
    return {path: _entry(root, path, path in contents, names) for path in paths}


def _entry(root: str, path: str, read: bool, names: dict[int, list[str]]) -> Entry:
    full = os.path.join(root, path)
    status = os.lstat(full)
    kind = _KINDS.get(stat.S_IFMT(status.st_mode)) or ("c" if stat.S_ISCHR(status.st_mode) else "b")
    return Entry(
        kind,
        oct(stat.S_IMODE(status.st_mode)),
        (status.st_uid, status.st_gid),
        (os.major(status.st_rdev), os.minor(status.st_rdev)),
        tuple(sorted((name, os.getxattr(full, name, follow_symlinks=False)) for name in _attributes(full))),
        tuple(sorted(names.get(status.st_ino, ()))),
        os.readlink(full) if kind == "l" else "",
        hashlib.sha256(Path(full).read_bytes()).hexdigest() if kind == "f" and read else "",
    )


def _attributes(full: str) -> list[str]:
    return [name for name in os.listxattr(full, follow_symlinks=False) if not name.startswith("trusted.overlay.")]


class Difference(NamedTuple):
    """What an entry is unsandboxed and sandboxed; None where there is none."""

    path: str
    plain: Entry | None
    sandboxed: Entry | None

    def __str__(self) -> str:
        if self.plain is None or self.sandboxed is None:
            there = "without the sandbox" if self.sandboxed is None else "in the sandbox"
            return f"/{self.path}: only {there}"
        pairs = zip(Entry._fields, self.plain, self.sandboxed, strict=True)
        return f"/{self.path}: " + ", ".join(f"{name} {old} -> {new}" for name, old, new in pairs if old != new)


def differences(plain: Seen, plain_again: Seen, sandboxed: Seen) -> Iterator[Difference]:
    """Where a sandboxed tree differs from an unsandboxed one.

    What differs between two unsandboxed trees already is compared by metadata only, or not at all where one of these
    lacks it or has other metadata.
    """
    for path in sorted(plain.keys() | sandboxed.keys()):
        one, two, ours = plain.get(path), plain_again.get(path), sandboxed.get(path)
        if one == ours:
            continue
        if one and two and ours and one != two and one.metadata == two.metadata == ours.metadata:
            continue
        if one != two and (one is None or two is None or (ours and one.metadata != two.metadata)):
            continue
        yield Difference(path, one, ours)
