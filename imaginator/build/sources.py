"""Image manifests: from a location, Git or ``dir://``, to a directory, and from its text files to a value."""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from imaginator.build.git import Mirror, Remote, check_url, write_helpers
from imaginator.model.errors import ConfigurationError
from imaginator.model.redaction import Redactor
from imaginator.sandbox.process import Reactor

_PLAIN = "dir://"


class SourceLocation(NamedTuple):
    """Where a manifest lies; ``shown`` is the URL without secrets, an empty ``branch`` the default one."""

    url: str
    shown: str
    directory: str = ""
    branch: str = ""


class Checkout(NamedTuple):
    """A manifest's directory on this machine; commit and branch are empty where there is no Git."""

    directory: Path
    commit: str
    branch: str
    public_url: str


class Sources:
    """Brings manifests; the mirrors of Git repositories are kept below ``directory``, named by hashes of their URLs."""

    def __init__(self, reactor: Reactor, directory: Path) -> None:
        self._reactor = reactor
        self._directory = directory
        self._helpers = directory / "helpers"
        self._mirrors: dict[str, Mirror] = {}

    async def fetch(self, location: SourceLocation, into: Path, redactor: Redactor) -> Checkout:
        """Bring the manifest's directory: a Git one is checked out to ``into``, which must not exist yet.

        Raises `ConfigurationError` where the location makes no sense, `BuildFailed` where it cannot be reached;
        neither shows a secret.
        """
        directory = _relative(location)
        if location.url.startswith(_PLAIN):
            return _plain(location, directory)
        check_url(location.url, location.shown)
        remote = Remote(location.url, location.shown, redactor)
        mirror = self._mirror(location.url)
        revision = await mirror.fetch(remote, location.branch)
        into.mkdir(parents=True)
        await mirror.check_out(remote, revision.commit, directory, into)
        return Checkout(into, revision.commit, revision.branch, location.shown)

    def _mirror(self, url: str) -> Mirror:
        name = hashlib.sha256(url.encode(errors="surrogateescape")).hexdigest()
        if not self._mirrors:
            self._directory.mkdir(parents=True, exist_ok=True)
            write_helpers(self._helpers)
        if name not in self._mirrors:
            self._mirrors[name] = Mirror(self._reactor, self._directory / f"{name}.git", self._helpers)
        return self._mirrors[name]


def _relative(location: SourceLocation) -> str:
    """The manifest's directory below the top; raises `ConfigurationError` where it lies outside."""
    parts = [part for part in PurePosixPath(location.directory.lstrip("/")).parts if part != "."]
    if ".." in parts or any(ord(character) < 32 for character in location.directory):
        raise ConfigurationError(location.shown, f"directory {location.directory!r} lies outside the repository")
    return "/".join(parts)


def _plain(location: SourceLocation, directory: str) -> Checkout:
    if location.branch not in ("", "master"):
        raise ConfigurationError(location.shown, f"no branch {location.branch!r}: a plain directory has no branches")
    top = Path(location.url.removeprefix(_PLAIN))
    if not top.is_absolute():
        raise ConfigurationError(location.shown, "expected dir:///PATH")
    found = top / directory
    if not found.exists():
        raise ConfigurationError(location.shown, f"no directory {directory!r}" if directory else "no such directory")
    if not found.resolve().is_relative_to(top.resolve()):
        raise ConfigurationError(location.shown, f"directory {directory!r} lies outside {top}")
    if not found.is_dir():
        raise ConfigurationError(location.shown, f"{directory!r} is not a directory")
    return Checkout(found, "", "", location.shown)
