"""What a path of a commit holds, as ``git ls-tree -r -t -l -z`` lists it: counted and checked while it is read.

A tree object can name itself-alike trees ten at each of ten levels, so a few hundred bytes may list billions of files:
the listing is given up at the first entry past a limit. A content that is not in the mirror has no size.
"""

from __future__ import annotations

import hashlib
import re

from imaginator.model.errors import BuildFailed, ConfigurationError

MOST_ENTRIES = 100_000
"""Files and directories of one manifest."""

MOST_BYTES = 4 << 30
"""Bytes of all files of one manifest."""

LONGEST_PATH = 2048
"""Bytes of a path in a repository."""

LONGEST_NAME = 255
"""Bytes of a file's name, as the kernel has it."""

DIRECTORY = b"040000"
"""The mode of a directory."""

_ENTRY = re.compile(rb"([0-7]{6}) (blob|tree|commit) ([0-9a-f]+) +([0-9]+|-|BAD)\t(.*)", re.DOTALL)
_FORBIDDEN = (b"", b".", b"..", b".git")
_KINDS = {b"120000": "a symbolic link", b"160000": "a submodule, which is not fetched"}
_ATTRIBUTES = b".gitattributes"


class Listing:
    """The entries of ``path`` (empty: everything), and the attributes files of the directories above it.

    ``place`` is where they are to be written, below a folder for all.
    """

    def __init__(self, shown: str, path: str, place: str = "") -> None:
        self.place = place
        self._shown = shown
        self._path = path.encode(errors="surrogateescape")
        self._rest = b""
        self._seen: set[bytes] = set()
        self._trees = {self._path}
        self._bytes = 0
        self.mode = b"" if path else DIRECTORY
        """Of the path itself; empty where there is no such path."""
        self.id = ""
        self.size = 0
        """Of a path that is a file."""
        self.missing: dict[str, None] = {}
        """Contents that are not in the mirror."""
        self.attributes: list[str] = []
        """``mode,id,path`` of each attributes file above the path."""
        self._top = hashlib.sha256()

    @property
    def content(self) -> str:
        """Differs where anything differs that a checkout of the path would have: its tree, and attributes above it."""
        if not self.id:
            return self._top.hexdigest()
        if not self.attributes:
            return self.id
        return hashlib.sha256("\n".join([self.id, *self.attributes]).encode(errors="surrogateescape")).hexdigest()

    def take(self, data: bytes) -> None:
        """Read on; raises `ConfigurationError` past a limit or at a forbidden name, `BuildFailed` for nonsense."""
        *entries, self._rest = (self._rest + data).split(b"\0")
        for entry in entries:
            found = _ENTRY.fullmatch(entry)
            if found is None:
                raise BuildFailed(f"{self._shown}: {entry[:500].decode(errors='replace')}")
            self._add(*found.groups())

    def forget_names(self) -> None:
        """Keep only what is wanted of a listing that has been read."""
        self._seen.clear()
        self._trees.clear()

    def _add(self, mode: bytes, kind: bytes, number: bytes, size: bytes, path: bytes) -> None:
        if size == b"BAD":
            self.missing[number.decode()] = None
        if path == self._path:
            self.mode, self.id, self.size = mode, number.decode(), int(size) if size.isdigit() else 0
        elif not self._path or path.startswith(self._path + b"/"):
            self._check(mode, path)
            if not self._path:
                # Git tells no id of the top: it is that of what lies in it.
                self._top.update(b"%b %b %b\0" % (mode, number, path))
            self._count(path, int(size) if size.isdigit() else 0)
        elif path.rpartition(b"/")[2] == _ATTRIBUTES and kind == b"blob" and mode.startswith(b"100"):
            self.attributes.append(f"{mode.decode()},{number.decode()},{path.decode(errors='surrogateescape')}")

    def _check(self, mode: bytes, path: bytes) -> None:
        """Refuse what Git itself never makes: it would fail on it, or worse."""
        parent, _, name = path.rpartition(b"/")
        if name.lower() in _FORBIDDEN or (mode, name.lower()) == (b"120000", b".gitmodules"):
            raise self._refusal(path, "a name that no file in a repository may have")
        if len(name) > LONGEST_NAME or len(path) > LONGEST_PATH:
            problem = f"a name longer than {LONGEST_NAME} or a path longer than {LONGEST_PATH} bytes"
            raise self._refusal(path[:100], problem)
        if path in self._seen:
            raise self._refusal(path, "is there twice")
        if parent not in self._trees:
            raise self._refusal(path, "a name with a slash in it")
        if mode == DIRECTORY:
            self._trees.add(path)

    def _count(self, path: bytes, size: int) -> None:
        self._seen.add(path)
        self._bytes += size
        if len(self._seen) > MOST_ENTRIES:
            raise self._refusal(self._path, f"more than {MOST_ENTRIES} files and directories")
        if self._bytes > MOST_BYTES:
            raise self._refusal(self._path, f"more than {MOST_BYTES} bytes")

    def _refusal(self, path: bytes, problem: str) -> ConfigurationError:
        return ConfigurationError(self._shown, f"{path.decode(errors='replace')!r}: {problem}")


def kind_of(mode: bytes, expected: str) -> str:
    """What is wrong with an entry where ``expected`` was: ``is a symbolic link, not a directory``."""
    return f"is {_KINDS[mode]}, not {expected}" if mode in _KINDS else f"is not {expected}"
