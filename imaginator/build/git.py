"""One bare mirror a repository, shallow and partial, from which one directory of one commit is checked out.

A commit comes without its history and, where the server can leave them out, without contents; those of a directory
follow in one request when it is first asked for. So a manifest in a large repository costs what the manifest weighs.
What was fetched is known by a reference below ``refs/imaginator/``, in a folder of the URL it came by, secrets
included: other credentials have to ask the server for themselves, even though the objects are there.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from imaginator.build.gathering import Answer, Gathering
from imaginator.build.gitrun import CONTENTS, LONGEST_QUESTION, WITHOUT_CONTENTS, Git, Remote
from imaginator.build.listing import DIRECTORY, Listing, kind_of
from imaginator.build.references import explained, full_names, parse_references, unknown
from imaginator.build.turns import Turns
from imaginator.model.errors import BuildFailed, ConfigurationError
from imaginator.model.giturl import check_branch, is_commit

MOST_PACKS = 100
"""Fetches, and changes of a secret, after which a mirror begins anew: it is neither slow nor large for ever."""

REMEMBERED = 256
"""Listings that are remembered: what a path of a commit holds never changes."""

AT_ONCE = 10_000
"""Contents that one fetch asks for: their names are arguments."""

_FETCH = ("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--force")
_FILTER = "--filter=blob:none"


class Revision(NamedTuple):
    """What a request's branch turned out to be: the branch or tag, empty for a bare commit id, and its commit."""

    branch: str
    commit: str


class Mirror:
    """The bare mirror of one repository, that of ``git``; whoever changes it waits for its turn."""

    def __init__(self, git: Git) -> None:
        self._git = git
        self._lock = Turns(git.reactor)
        self._listings: dict[tuple[str, str], Listing] = {}

    async def fetch(self, remote: Remote, branch: str) -> Revision:
        """Make the commit of ``branch`` (or tag, or commit id; empty: the default branch) present.

        A commit id whose commit is present asks the network nothing. Raises `BuildFailed` where the repository cannot
        be reached, `ConfigurationError` where it has no such branch or does not let us in.
        """
        async with self._lock.turn():
            revision = await self._resolve(remote, branch)
            if not self._reference(remote, revision.commit).exists():
                await self._download(remote, revision.commit)
            os.utime(self._git.directory)
        return revision

    async def content(self, remote: Remote, commit: str, directory: str) -> str:
        """What differs where ``directory`` of a commit that was fetched differs; raises what `check_out` raises."""
        listing = await self._listed(remote, commit, directory)
        if listing.mode != DIRECTORY:
            raise await self._refusal(remote, commit, directory, "a directory")
        return listing.content

    async def check_out(self, remote: Remote, commit: str, directory: str, into: Path) -> Path:
        """Write ``directory`` (relative, empty: everything) of ``commit`` below the empty directory ``into``.

        Returns where: in the same place below ``into``, for the attributes of the directories above hold for it too.
        Raises `ConfigurationError` where the commit has no such directory or one that is too large.
        """
        listing = await self._listed(remote, commit, directory)
        if listing.mode != DIRECTORY:
            raise await self._refusal(remote, commit, directory, "a directory")
        try:
            await self._write(remote, commit, listing, into)
        except BuildFailed:
            async with self._lock.turn():
                await self._begin_anew(remote, commit)
            shutil.rmtree(into)
            into.mkdir()
            await self._write(remote, commit, await self._listed(remote, commit, directory), into)
        return into / listing.place

    async def read(self, remote: Remote, commit: str, path: str, limit: int) -> bytes:
        """A file of a commit; raises `ConfigurationError` where there is none, or one of more than ``limit`` bytes."""
        listing = await self._listed(remote, commit, path)
        if not listing.mode.startswith(b"100"):
            raise await self._refusal(remote, commit, path, "a regular file")
        if listing.size > limit:
            raise ConfigurationError(remote.shown, f"{path!r}: {listing.size} bytes: at most {limit} are allowed")
        data = await self._git.run(remote, "cat-file", "blob", listing.id)
        if len(data) != listing.size:
            raise BuildFailed(f"{remote.shown}: {path!r} cannot be read from the mirror")
        return data

    async def manifests(self, remote: Remote, commit: str, directories: Sequence[str]) -> dict[str, Answer]:
        """The file ``manifest`` of each of many directories of a commit that was fetched, or what is wrong with it."""
        gathering = Gathering(self._git, remote, commit, partial(self._bring_contents, remote, commit))
        try:
            return await gathering.manifests(directories)
        except BuildFailed:
            async with self._lock.turn():
                await self._begin_anew(remote, commit)
            return await gathering.manifests(directories)

    async def _resolve(self, remote: Remote, branch: str) -> Revision:
        """Find a branch or tag among what the repository offers; an empty one is its default branch."""
        if is_commit(branch.lower()):
            return Revision("", branch.lower())
        if branch:
            check_branch(branch, remote.shown)
        names = full_names(branch)
        question = ("ls-remote", "--symref", "origin", "HEAD", *names)
        # Asked from no repository at all, so that a damaged mirror does not matter.
        nowhere = self._git.at(self._git.directory / "none")
        offered, default = parse_references(await nowhere.ask(remote, *question, timeout=LONGEST_QUESTION))
        for name in names or ["HEAD"]:
            if name in offered:
                return Revision(branch or default, offered[name])
        raise ConfigurationError(remote.shown, unknown(branch, default))

    def _reference(self, remote: Remote, commit: str) -> Path:
        """Its file tells, without asking Git, that ``commit`` was fetched by the URL of ``remote``."""
        return self._git.directory / _reference_name(remote, commit)

    async def _download(self, remote: Remote, commit: str) -> None:
        """Fetch one commit, without its history and if possible without contents, and keep a reference to it."""
        directory = self._git.directory
        crowd = [*directory.glob("objects/pack/*.pack"), *directory.glob("refs/imaginator/*")]
        if len(crowd) >= MOST_PACKS or not directory.exists():
            await self._begin_anew(remote, commit)
            return
        # Only we fetch, one at a time: what lies here now is a killed Git's.
        for pattern in ("*.lock", "refs/**/*.lock", "objects/pack/tmp_*"):
            for left in directory.glob(pattern):
                left.unlink()
        try:
            await self._bring(self._git, remote, commit)
        except BuildFailed:
            # The mirror may be the reason.
            await self._begin_anew(remote._replace(tell=None), commit)

    async def _bring(self, git: Git, remote: Remote, commit: str, whole: bool = False) -> None:
        less, settings = ((), {}) if whole else ((_FILTER,), WITHOUT_CONTENTS)
        wanted = f"{commit}:{_reference_name(remote, commit)}"
        try:
            await git.ask(remote, *_FETCH, "--depth=1", *less, "origin", wanted, settings=settings)
        except ConfigurationError as error:
            raise explained(error, remote, commit) from None

    async def _begin_anew(self, remote: Remote, commit: str, whole: bool = False) -> None:
        """Make a mirror of one commit, which takes the place of the one that is there when it is done."""
        self._listings.clear()
        directory = self._git.directory
        fresh, old = directory.with_suffix(".new"), directory.with_suffix(".old")
        for left in (fresh, old):
            shutil.rmtree(left, ignore_errors=True)
        git = self._git.at(fresh)
        kind = "sha256" if len(commit) > len(hashlib.sha1().hexdigest()) else "sha1"
        await git.run(remote, "init", "--quiet", "--bare", "--template=", f"--object-format={kind}", str(fresh))
        await self._bring(git, remote, commit, whole)
        if directory.exists():
            directory.rename(old)
        fresh.rename(directory)
        shutil.rmtree(old, ignore_errors=True)

    async def _listed(self, remote: Remote, commit: str, path: str) -> Listing:
        """What ``path`` holds, with all its contents present; a mirror that cannot tell is damaged and begins anew."""
        listing = self._listings.get((commit, path))
        if listing is None:
            listing = await self._whole(remote, commit, path)
            if len(self._listings) >= REMEMBERED:
                self._listings.clear()
            listing.forget_names()
            self._listings[commit, path] = listing
        return listing

    async def _whole(self, remote: Remote, commit: str, path: str) -> Listing:
        try:
            listing = await self._list(remote, commit, path)
        except BuildFailed:
            async with self._lock.turn():
                await self._begin_anew(remote, commit)
            listing = await self._list(remote, commit, path)
        if listing.missing:
            async with self._lock.turn():
                listing = await self._complete(remote, commit, path)
        return listing

    async def _list(self, remote: Remote, commit: str, path: str) -> Listing:
        if remote.redactor.text(path) != path:
            return await self._list_hidden(remote, commit, path)
        listing = Listing(remote.shown, path, path)
        paths = (*_attributes_above(path), path) if path else ()
        await self._git.follow(remote, listing.take, "ls-tree", "-rtlz", "--full-tree", commit, "--", *paths)
        return listing

    async def _list_hidden(self, remote: Remote, commit: str, path: str) -> Listing:
        """List a path with a secret in it, by the ids of trees: Git's arguments are for all to see.

        Attributes of the directories above do not hold here, since Git would have to be told where it is.
        """
        parent, _, name = path.rpartition("/")
        question = f"{commit}:{parent}\n".encode(errors="surrogateescape")
        answer = await self._git.run(remote, "cat-file", "--batch-check", given=question)
        found = Listing(remote.shown, name)
        if answer.split()[1:2] == [b"tree"]:
            tree = answer.split()[0].decode()
            await self._git.follow(remote, found.take, "ls-tree", "-lz", "--full-tree", tree)
        if found.mode != DIRECTORY:
            return found
        listing = Listing(remote.shown, "")
        listing.id = found.id
        await self._git.follow(remote, listing.take, "ls-tree", "-rtlz", "--full-tree", found.id)
        return listing

    async def _complete(self, remote: Remote, commit: str, path: str) -> Listing:
        """Fetch the contents that a path lacks; everything where the server does not hand them out alone."""
        listing = await self._list(remote, commit, path)
        try:
            await self._ask_contents(remote, list(listing.missing))
            listing = await self._list(remote, commit, path)
        except (BuildFailed, ConfigurationError):
            await self._begin_anew(remote._replace(tell=None), commit, whole=True)
            return await self._list(remote, commit, path)
        return listing

    async def _bring_contents(self, remote: Remote, commit: str, missing: Sequence[str]) -> None:
        async with self._lock.turn():
            try:
                await self._ask_contents(remote, missing)
            except (BuildFailed, ConfigurationError):
                await self._begin_anew(remote._replace(tell=None), commit, whole=True)

    async def _ask_contents(self, remote: Remote, missing: Sequence[str]) -> None:
        for start in range(0, len(missing), AT_ONCE):
            some = missing[start : start + AT_ONCE]
            await self._git.ask(remote, *_FETCH, _FILTER, "origin", *some, settings=CONTENTS)

    async def _write(self, remote: Remote, commit: str, listing: Listing, into: Path) -> None:
        index = Path(f"{into}.index")
        index.unlink(missing_ok=True)
        more = {"GIT_INDEX_FILE": str(index), "GIT_WORK_TREE": str(into)}
        if listing.attributes:
            entries = [word for entry in listing.attributes for word in ("--cacheinfo", entry)]
            await self._git.run(remote, "update-index", "--add", *entries, more=more)
        where = f"--prefix={listing.place}/" if listing.place else "--reset"
        (into / listing.place).mkdir(parents=True, exist_ok=True)
        await self._git.run(remote, "read-tree", where, "-u", listing.id or commit, more=more)

    async def _refusal(self, remote: Remote, commit: str, path: str, expected: str) -> ConfigurationError:
        """Why a path is not what was expected: it, or a part of it, is missing or something else."""
        if remote.redactor.text(path) != path:
            return ConfigurationError(remote.shown, f"{remote.redact(path)!r} is not {expected} in commit {commit}")
        for part in _parts(path):
            listing = Listing(remote.shown, part)
            await self._git.follow(remote, listing.take, "ls-tree", "-lz", "--full-tree", commit, "--", part)
            if listing.mode != DIRECTORY:
                break
        if not listing.mode:
            return ConfigurationError(remote.shown, f"no {expected.split()[-1]} {path!r} in commit {commit}")
        wanted = expected if part == path else "a directory"
        return ConfigurationError(remote.shown, f"{part!r} {kind_of(listing.mode, wanted)} in commit {commit}")


def _parts(path: str) -> Iterator[str]:
    """``a``, ``a/b``, ``a/b/c`` of the last."""
    names = path.split("/")
    return ("/".join(names[: count + 1]) for count in range(len(names)))


def _attributes_above(path: str) -> list[str]:
    """The attributes files of the directories above a path, from the top."""
    return [f"{part.rpartition('/')[0]}/.gitattributes".lstrip("/") for part in _parts(path)]


def _reference_name(remote: Remote, commit: str) -> str:
    way = hashlib.sha256(remote.url.encode(errors="surrogateescape")).hexdigest()[:32]
    return f"refs/imaginator/{way}/{commit}"
