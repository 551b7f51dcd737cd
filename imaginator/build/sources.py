"""Image manifests: from a location, Git or ``dir://``, to a directory, and from its text files to a value."""

from __future__ import annotations

import hashlib
import re
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from weakref import WeakValueDictionary

from imaginator.build.environment import PATH
from imaginator.build.gathering import Answer
from imaginator.build.git import Mirror
from imaginator.build.gitrun import Git, Remote, write_helpers
from imaginator.build.retry import Tell
from imaginator.model.clock import wall_seconds
from imaginator.model.errors import ConfigurationError
from imaginator.model.giturl import RepositoryFile, check_length, check_url
from imaginator.model.redaction import Redactor
from imaginator.sandbox.process import Reactor, capture

KEPT = 30 * 86400.0
"""Seconds that a mirror is kept which nobody uses."""

REMEMBERED = 64
"""Uses of mirrors for which one is remembered with what it holds."""

PLAIN = "dir://"
"""How the location of a plain directory begins."""

_REMOVAL = 600.0
_DIRECTORY = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]{0,1024}")


class SourceLocation(NamedTuple):
    """Where a manifest lies; ``shown`` is the URL without secrets, an empty ``branch`` the default one."""

    url: str
    shown: str
    directory: str = ""
    branch: str = ""


class Checkout(NamedTuple):
    """A manifest's directory on this machine; commit and branch are empty where there is no Git.

    ``content`` differs where anything in the directory does; it is empty for a plain one, whose files tell.
    """

    directory: Path
    commit: str
    branch: str
    public_url: str
    content: str = ""


class Known(NamedTuple):
    """A file of a repository, None where the commit is still the known one."""

    data: bytes | None
    commit: str


class Sources:
    """Brings manifests, and single files, from repositories whose mirrors are kept below ``directory``.

    A mirror is named by the hash of the URL's public form: when a secret in it changes, what was fetched stays of use.
    """

    def __init__(self, reactor: Reactor, directory: Path) -> None:
        self._reactor = reactor
        self._directory = directory
        self._helpers = directory / "helpers"
        self._mirrors: WeakValueDictionary[str, Mirror] = WeakValueDictionary()
        self._prepared = False
        self._recent: deque[Mirror] = deque(maxlen=REMEMBERED)

    async def fetch(
        self, location: SourceLocation, into: Path, redactor: Redactor, tell: Tell | None = None
    ) -> Checkout:
        """Bring the manifest's directory: a Git one is checked out below ``into``, which must not exist yet.

        A server that does not answer is asked again for who has a ``tell``, as nowhere else here: others will look
        again. Raises `ConfigurationError` where the location makes no sense, `BuildFailed` where it cannot be reached;
        neither shows a secret.
        """
        check_length(location.url, location.shown)
        directory = relative_directory(location)
        if location.url.startswith(PLAIN):
            return plain_directory(location, directory)
        remote = _remote(location.url, location.shown, redactor)._replace(tell=tell)
        mirror = self._mirror(remote)
        revision = await mirror.fetch(remote, location.branch)
        into.mkdir(parents=True)
        content = await mirror.content(remote, revision.commit, directory)
        found = await mirror.check_out(remote, revision.commit, directory, into)
        return Checkout(found, revision.commit, revision.branch, location.shown, content)

    async def content(self, location: SourceLocation, commit: str, redactor: Redactor) -> str:
        """What differs where anything of the location's directory does, in a commit that `head` told.

        Raises what `fetch` does.
        """
        remote = _remote(location.url, location.shown, redactor)
        return await self._mirror(remote).content(remote, commit, relative_directory(location))

    async def read(self, file: RepositoryFile, shown: str, redactor: Redactor, known: str, limit: int) -> Known:
        """A file of at most ``limit`` bytes of a repository's default branch, unless its commit is still ``known``.

        Raises what `fetch` does.
        """
        remote = _remote(file.repository, shown, redactor)
        mirror = self._mirror(remote)
        path = relative_directory(SourceLocation(file.repository, shown, file.path))
        revision = await mirror.fetch(remote, "")
        if revision.commit == known:
            return Known(None, known)
        return Known(await mirror.read(remote, revision.commit, path, limit), revision.commit)

    async def head(self, location: SourceLocation, redactor: Redactor) -> str:
        """The commit of a repository's default branch, which is asked for once and fetched where it is new.

        Raises what `fetch` does.
        """
        remote = _remote(location.url, location.shown, redactor)
        revision = await self._mirror(remote).fetch(remote, "")
        return revision.commit

    async def manifests(
        self, location: SourceLocation, commit: str, directories: Sequence[str], redactor: Redactor
    ) -> dict[str, Answer]:
        """The file ``manifest`` of each of many relative directories of a commit that `head` told, or what is wrong.

        Raises what `fetch` does.
        """
        remote = _remote(location.url, location.shown, redactor)
        return await self._mirror(remote).manifests(remote, commit, directories)

    async def trim(self) -> None:
        """Remove the mirrors that nobody has used for `KEPT` seconds, and what a killed daemon left of others."""
        oldest = wall_seconds(self._reactor) - KEPT
        self._recent.clear()
        for path in self._unused(".git"):
            if path.stat().st_mtime < oldest:
                # Whoever wants it from now on begins anew.
                path.rename(path.with_suffix(".stale"))
        gone = [str(path) for suffix in (".stale", ".new", ".old") for path in self._unused(suffix)]
        if gone:
            await capture(self._reactor, ["rm", "-rf", "--", *gone], {"PATH": PATH}, timeout=_REMOVAL)

    def _unused(self, suffix: str) -> list[Path]:
        return [path for path in self._directory.glob(f"*{suffix}") if path.stem not in self._mirrors]

    def _mirror(self, remote: Remote) -> Mirror:
        name = hashlib.sha256(remote.shown.encode(errors="surrogateescape")).hexdigest()
        if not self._prepared:
            self._prepared = True
            self._directory.mkdir(parents=True, exist_ok=True)
            write_helpers(self._helpers)
        mirror = self._mirrors.get(name) or Mirror(Git(self._reactor, self._directory / f"{name}.git", self._helpers))
        self._mirrors[name] = mirror
        self._recent.append(mirror)
        return mirror


def _remote(url: str, shown: str, redactor: Redactor) -> Remote:
    check_url(url, shown)
    remote = Remote(url, shown, redactor)
    remote.check_visibility()
    return remote


def relative_directory(location: SourceLocation) -> str:
    """The manifest's directory below the top; raises `ConfigurationError` where it lies outside."""
    if not _DIRECTORY.fullmatch(location.directory):
        raise ConfigurationError(location.shown, f"{location.directory[:256]!r} is no name of a directory")
    parts = [part for part in location.directory.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise ConfigurationError(location.shown, f"{location.directory!r} lies outside the repository")
    return "/".join(parts)


def plain_directory(location: SourceLocation, directory: str) -> Checkout:
    """A ``dir://`` manifest; raises `ConfigurationError` where there is no such directory below the location's."""
    if location.branch not in ("", "master"):
        raise ConfigurationError(location.shown, f"no branch {location.branch!r}: a plain directory has no branches")
    top = Path(location.url.removeprefix(PLAIN))
    if not top.is_absolute() or not _DIRECTORY.fullmatch(str(top)):
        raise ConfigurationError(location.shown, "expected dir:///PATH")
    try:
        return _found(location, top, directory)
    except OSError as error:
        raise ConfigurationError(location.shown, f"{directory!r} cannot be read: {error.strerror}") from None


def _found(location: SourceLocation, top: Path, directory: str) -> Checkout:
    found = top / directory
    if not found.exists():
        raise ConfigurationError(location.shown, f"no directory {directory!r}" if directory else "no such directory")
    if not found.resolve().is_relative_to(top.resolve()):
        raise ConfigurationError(location.shown, f"directory {directory!r} lies outside {top}")
    if not found.is_dir():
        raise ConfigurationError(location.shown, f"{directory!r} is not a directory")
    return Checkout(found.resolve(), "", "", location.shown)
