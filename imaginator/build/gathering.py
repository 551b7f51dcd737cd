"""The file ``manifest`` of many directories of one commit at once, by ``git cat-file``.

Directories are named on its standard input, so that neither their number nor a secret in them matters. Trees are read
rather than paths, since only they tell a file from a symbolic link.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from imaginator.build.gitrun import Git, Remote
from imaginator.build.manifests import LARGEST_TEXT
from imaginator.model.errors import BuildFailed, ConfigurationError
from imaginator.model.manifest import NO_MANIFEST

AT_ONCE = 1000
"""Directories that are looked at together: taking apart what Git says of them must not keep the reactor."""

LARGEST_ANSWER = 8 << 20
"""Bytes of contents that Git is asked for at once, but for one that is larger."""

CROWD = 200
"""Directories side by side for which Git would read their parent too often, looking for them one by one."""

LARGEST_TREE = 4 << 20
"""Bytes of a directory's own tree object."""

Bring = Callable[[Sequence[str]], Awaitable[None]]
"""Fetches the contents with these ids."""

Answer = bytes | ConfigurationError
"""A manifest's text, or why there is none."""

_HEADER = re.compile(rb"([0-9a-f]{40,64}) (blob|tree|commit|tag) ([0-9]+)")
_NAME = "manifest"
_REGULAR, _LINK = b"100", b"120000"


class Header(NamedTuple):
    """An object of a repository."""

    id: str
    kind: str
    size: int


class Entry(NamedTuple):
    """A name in a tree."""

    mode: bytes
    id: str


class Gathering:
    """Reads from one commit; ``bring`` fetches contents that the mirror lacks."""

    def __init__(self, git: Git, remote: Remote, commit: str, bring: Bring) -> None:
        self._git = git
        self._remote = remote
        self._commit = commit
        self._bring = bring

    async def manifests(self, directories: Sequence[str]) -> dict[str, Answer]:
        """What each of ``directories`` (relative, empty: the top) has; raises `BuildFailed` where Git fails."""
        answers: dict[str, Answer] = {}
        names = list((await self._tree_names(directories)).items())
        for start in range(0, len(names), AT_ONCE):
            trees = await self._trees(dict(names[start : start + AT_ONCE]), answers)
            links = await self._texts(trees, dict.fromkeys(trees, _NAME), answers)
            # A link may lead to a file beside it, but not to another link.
            for directory in await self._texts(trees, links, answers):
                answers[directory] = self._refusal(directory, "a symbolic link to another one")
        return answers

    async def _trees(self, names: Mapping[str, str], answers: dict[str, Answer]) -> dict[str, bytes]:
        """The tree objects of directories, whose names Git knows; ``answers`` are told of what is none."""
        top, *headers = await self._headers([f"{self._commit}:", *names.values()])
        if top is None:
            raise self._nonsense()
        found = dict(zip(names, headers, strict=True))
        data = await self._data(header for header in headers if header and self._is_tree(header))
        for directory, header in found.items():
            if header is None or not self._is_tree(header):
                answers[directory] = self._no_directory(directory, header)
        return {directory: data[header.id] for directory, header in found.items() if header and header.id in data}

    async def _tree_names(self, directories: Sequence[str]) -> dict[str, str]:
        """What Git knows directories by: their paths, or their ids where there are many in one."""
        parents = sorted({directory.rpartition("/")[0] for directory in directories})
        ids: dict[str, str] = {}
        if len(directories) > CROWD * len(parents):
            for parent, tree in (await self._trees(await self._tree_names(parents), {})).items():
                named = ((name.decode(errors="surrogateescape"), entry.id) for name, entry in self._entries(tree))
                ids |= {f"{parent}/{name}".lstrip("/"): number for name, number in named}
        return {directory: ids.get(directory, f"{self._commit}:{directory}") for directory in directories}

    @staticmethod
    def _is_tree(header: Header) -> bool:
        return header.kind == "tree" and header.size <= LARGEST_TREE

    async def _texts(
        self, trees: Mapping[str, bytes], names: Mapping[str, str], answers: dict[str, Answer]
    ) -> dict[str, str]:
        """Answer with the file of each directory that is called as ``names`` says; links with what they lead to."""
        files: dict[str, Entry] = {}
        for directory, name in names.items():
            wanted = name.encode(errors="surrogateescape")
            entry = next((entry for found, entry in self._entries(trees[directory]) if found == wanted), None)
            if entry is None or not entry.mode.startswith((_REGULAR, _LINK)):
                answers[directory] = self._no_file(directory, name, entry)
            else:
                files[directory] = entry
        headers = await self._present([entry.id for entry in files.values()])
        data = await self._data(header for header in headers.values() if header.size <= LARGEST_TEXT)
        for directory, entry in files.items():
            found = data.get(entry.id)
            answers[directory] = self._too_large(directory, headers[entry.id]) if found is None else found
        links = {directory: answers[directory] for directory, entry in files.items() if entry.mode == _LINK}
        return {
            name: target.decode(errors="surrogateescape") for name, target in links.items() if isinstance(target, bytes)
        }

    def _entries(self, tree: bytes) -> Iterator[tuple[bytes, Entry]]:
        return entries(tree, len(self._commit) // 2)

    async def _present(self, ids: Sequence[str]) -> dict[str, Header]:
        """The headers of contents, which are fetched where they are missing."""
        unique = list(dict.fromkeys(ids))
        headers = await self._headers(unique)
        missing = [number for number, header in zip(unique, headers, strict=True) if header is None]
        if missing:
            await self._bring(missing)
            headers = await self._headers(unique)
        if None in headers:
            raise self._nonsense()
        return {header.id: header for header in headers if header}

    async def _headers(self, names: Sequence[str]) -> list[Header | None]:
        """What objects there are of these names."""
        lines = (await self._ask("--batch-check", names)).splitlines()
        if len(lines) != len(names):
            raise self._nonsense()
        return [_header(line) for line in lines]

    async def _data(self, headers: Iterable[Header]) -> dict[str, bytes]:
        """The contents of objects, by id."""
        data: dict[str, bytes] = {}
        for some in _portions({header.id: header for header in headers}.values()):
            answer = await self._ask("--batch", [header.id for header in some])
            at = 0
            for header in some:
                start = answer.find(b"\n", at) + 1
                if _header(answer[at : start - 1]) != header:
                    raise self._nonsense()
                at = start + header.size + 1
                data[header.id] = answer[start : at - 1]
        return data

    async def _ask(self, how: str, names: Sequence[str]) -> bytes:
        if not names:
            return b""
        question = "".join(f"{name}\n" for name in names).encode(errors="surrogateescape")
        return await self._git.run(self._remote, "cat-file", how, given=question)

    def _nonsense(self) -> BuildFailed:
        return BuildFailed(f"{self._remote.shown}: commit {self._commit} cannot be read from the mirror")

    def _no_directory(self, directory: str, header: Header | None) -> ConfigurationError:
        name = repr(self._remote.redact(directory))
        large = header is not None and header.kind == "tree"
        problem = f"{name} has too many entries" if large else f"no directory {name}"
        return ConfigurationError(self._remote.shown, f"{problem} in commit {self._commit}")

    def _no_file(self, directory: str, name: str, entry: Entry | None) -> ConfigurationError:
        if name != _NAME:
            return self._refusal(directory, "a symbolic link: expected a file, or a link to one beside it")
        if entry is not None:
            return self._refusal(directory, "not a regular file")
        where = self._where(directory)
        return ConfigurationError(where, NO_MANIFEST)

    def _too_large(self, directory: str, header: Header) -> ConfigurationError:
        return self._refusal(directory, f"{header.size} bytes: at most {LARGEST_TEXT} are allowed")

    def _refusal(self, directory: str, problem: str) -> ConfigurationError:
        return ConfigurationError(f"{self._where(directory)}/{_NAME}", problem)

    def _where(self, directory: str) -> str:
        return self._remote.redact(f"{self._remote.shown}/{directory}".rstrip("/"))


def _header(line: bytes) -> Header | None:
    found = _HEADER.fullmatch(line)
    return Header(found[1].decode(), found[2].decode(), int(found[3])) if found else None


def _portions(headers: Iterable[Header]) -> Iterator[list[Header]]:
    """Headers of contents that are not too large together."""
    some: list[Header] = []
    size = 0
    for header in headers:
        if some and size + header.size > LARGEST_ANSWER:
            yield some
            some, size = [], 0
        some.append(header)
        size += header.size
    if some:
        yield some


def entries(tree: bytes, id_length: int) -> Iterator[tuple[bytes, Entry]]:
    """What a tree object says of its names: ``MODE NAME\\0ID`` each, where the id is in binary."""
    at = 0
    while (end := tree.find(b"\0", at)) >= 0:
        mode, _, name = tree[at:end].partition(b" ")
        at = end + 1 + id_length
        yield name, Entry(mode, tree[end + 1 : at].hex())
