"""Git as a program: one bare mirror a repository, shallow, from which one directory of one commit is checked out.

Nothing of the repository's is executed: no hooks, no filters, no configuration of the host's users, only the usual
transports. A URL may hold secrets, so it is never an argument of a program: Git reads it from its environment, and a
remote helper of ours passes HTTP(S) on by the remote's name, where Git itself would put the URL on a command line.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from twisted.internet.defer import DeferredLock

from imaginator.build.retry import retried
from imaginator.model.errors import BuildFailed, ConfigurationError
from imaginator.model.redaction import Redactor
from imaginator.sandbox.process import Reactor, capture

LONGEST = 600.0
"""Seconds that one Git command may take."""

LONGEST_URL = 4096
"""Characters of a URL."""

_URL = re.compile(r"(?:https?|ssh|git|file)://[^\s\x00-\x1f]+|[\w.+-]+@[\w][\w.-]*:[^\s\x00-\x1f]+|/[^\x00-\x1f]+")
_BRANCH = re.compile(r"(?!-)(?!.*(?:\.\.|@\{|//))[^\x00-\x20\x7f~^:?*\[\\]{1,255}")
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_HELPER = '#!/bin/sh\n# Called by git as: git-remote-imaginator origin SCHEME\nexec git "remote-$2" hidden\n'

_SETTINGS = {
    "core.hooksPath": "/dev/null",
    "core.attributesFile": "/dev/null",
    "core.fsmonitor": "false",
    "fetch.recurseSubmodules": "false",
    "fetch.unpackLimit": "1",
    "gc.auto": "0",
    "http.lowSpeedLimit": "1",
    "http.lowSpeedTime": "60",
    "init.defaultBranch": "main",
    "maintenance.auto": "false",
}

_PASSED_ON = ("HOME", "SSH_AUTH_SOCK", "http_proxy", "https_proxy", "no_proxy", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY")


class Remote(NamedTuple):
    """A repository elsewhere: its URL with secrets, the form that may be shown, and what hides the former."""

    url: str
    shown: str
    redactor: Redactor


class Revision(NamedTuple):
    """What a request's branch turned out to be: the branch or tag, empty for a bare commit id, and its commit."""

    branch: str
    commit: str


def check_url(url: str, shown: str) -> None:
    """Raise `ConfigurationError` unless ``url`` names a repository by one of the usual transports."""
    if not _URL.fullmatch(url) or len(url) > LONGEST_URL:
        raise ConfigurationError(shown, "no Git URL: expected https://, http://, ssh://, git://, file:// or user@host:")


class Mirror:
    """The bare mirror of one repository in ``directory``; fetches wait for one another."""

    def __init__(self, reactor: Reactor, directory: Path, helpers: Path) -> None:
        self._reactor = reactor
        self._directory = directory
        self._helpers = helpers
        self._lock = DeferredLock()

    async def fetch(self, remote: Remote, branch: str) -> Revision:
        """Make the commit of ``branch`` (or tag, or commit id; empty: the default branch) present.

        Raises `BuildFailed` where the repository cannot be reached or has no such branch.
        """
        async with self._lock:
            if not self._directory.exists():
                await self._make(remote)
            if _COMMIT.fullmatch(branch):
                revision = Revision("", branch)
            else:
                revision = await self._resolve(remote, branch)
            if not self._has(revision.commit):
                await self._download(remote, revision)
        return revision

    async def check_out(self, remote: Remote, commit: str, directory: str, into: Path) -> None:
        """Write ``directory`` (relative, empty: everything) of ``commit`` into the empty directory ``into``.

        Raises `ConfigurationError` where the commit has no such directory.
        """
        tree = f"{commit}:{directory}"
        index = {"GIT_INDEX_FILE": str(into) + ".index", "GIT_WORK_TREE": str(into)}
        try:
            await self._git(remote, "read-tree", "--reset", "-u", tree, more=index)
        except BuildFailed:
            await self._check_directory(remote, commit, directory)
            # The mirror is damaged: the next build is to fetch the commit again.
            self._reference(commit).unlink(missing_ok=True)
            raise

    async def _check_directory(self, remote: Remote, commit: str, directory: str) -> None:
        """Raise `ConfigurationError` unless a commit has a directory."""
        try:
            kind = await self._git(remote, "cat-file", "-t", f"{commit}:{directory}")
        except BuildFailed:
            raise ConfigurationError(remote.shown, f"no directory {directory!r} in commit {commit}") from None
        if kind.strip() != b"tree":
            raise ConfigurationError(remote.shown, f"{directory!r} is not a directory in commit {commit}")

    async def _make(self, remote: Remote) -> None:
        """Make the mirror, which appears when it is whole."""
        fresh = self._directory.with_suffix(".new")
        shutil.rmtree(fresh, ignore_errors=True)
        await self._git(remote, "init", "--quiet", "--bare", str(fresh))
        fresh.rename(self._directory)

    async def _download(self, remote: Remote, revision: Revision) -> None:
        """Fetch one commit, without its history, and keep a reference to it."""
        # Only we fetch, one at a time: a lock that is there now is a killed Git's.
        for lock in (*self._directory.glob("*.lock"), *self._directory.glob("refs/**/*.lock")):
            lock.unlink()
        await self._network(
            remote, "fetch", "--quiet", "--depth=1", "--no-tags", "--no-write-fetch-head", "--force",
            "origin", f"{revision.commit}:refs/imaginator/{revision.commit}",
        )  # fmt: skip

    async def _resolve(self, remote: Remote, branch: str) -> Revision:
        """Find a branch or tag among what the repository offers; an empty one is its default branch."""
        if branch and not _BRANCH.fullmatch(branch):
            raise ConfigurationError(remote.shown, f"{branch!r} is no name of a branch, tag or commit")
        output = await self._network(remote, "ls-remote", "--symref", "origin", "HEAD", *_patterns(branch))
        offered, default = _parse_references(output)
        if not branch and "HEAD" in offered:
            return Revision(default, offered["HEAD"])
        for reference in _patterns(branch):
            if reference in offered:
                return Revision(branch, offered[reference])
        raise BuildFailed(_unknown(remote.shown, branch, default))

    def _has(self, commit: str) -> bool:
        """Whether the mirror holds a commit, by the reference that `_download` keeps to it: Git need not be asked."""
        return self._reference(commit).exists()

    def _reference(self, commit: str) -> Path:
        return self._directory / "refs" / "imaginator" / commit

    async def _network(self, remote: Remote, *arguments: str) -> bytes:
        """A Git command that talks to the repository, tried a few times where that is on another machine."""
        if remote.url.startswith(("/", "file:")):
            return await self._git(remote, *arguments)
        return await retried(self._reactor, lambda: self._git(remote, *arguments), lambda text: None)

    async def _git(self, remote: Remote, *arguments: str, more: Mapping[str, str] = {}) -> bytes:
        """The output of a Git command; `BuildFailed`, without secrets, where it fails."""
        environment = {**self._environment(remote), **more}
        try:
            return await capture(self._reactor, ["git", *arguments], environment, timeout=LONGEST)
        except BuildFailed as error:
            words = remote.redactor.text(str(error)).replace(remote.url, remote.shown)
            raise BuildFailed(f"{remote.shown}: git {arguments[0]}: {words}") from None

    def _environment(self, remote: Remote) -> dict[str, str]:
        settings = {**_SETTINGS, **_remote_settings(remote.url)}
        environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        environment |= {
            "PATH": f"{self._helpers}:{os.environ.get('PATH', os.defpath)}",
            "GIT_DIR": str(self._directory),
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "true",
            "GIT_SSH_COMMAND": "ssh -oBatchMode=yes",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_ALLOW_PROTOCOL": "http:https:ssh:git:file:imaginator",
            "GIT_CONFIG_COUNT": str(len(settings)),
        }
        for number, (name, value) in enumerate(settings.items()):
            environment |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
        return environment


def write_helpers(directory: Path) -> None:
    """Put our remote helper, found by Git on its ``PATH``, into ``directory``."""
    directory.mkdir(parents=True, exist_ok=True)
    helper = directory / "git-remote-imaginator"
    fresh = directory / ".fresh"
    fresh.write_text(_HELPER)
    fresh.chmod(0o755)
    fresh.replace(helper)


def _remote_settings(url: str) -> dict[str, str]:
    scheme = url.partition(":")[0]
    if scheme in ("http", "https"):
        return {"remote.origin.url": f"imaginator::{scheme}", "remote.hidden.url": url}
    return {"remote.origin.url": url}


def _patterns(branch: str) -> list[str]:
    """The full names that a branch may have, the most specific kind first; an annotated tag by its commit."""
    if not branch:
        return []
    return [f"refs/heads/{branch}", f"refs/tags/{branch}^{{}}", f"refs/tags/{branch}"]


def _parse_references(output: bytes) -> tuple[dict[str, str], str]:
    """Full names with their commits, and the default branch, of ``git ls-remote --symref``."""
    offered, default = {}, ""
    for line in output.decode(errors="replace").splitlines():
        value, _, name = line.partition("\t")
        if not value.startswith("ref: "):
            offered[name] = value
        elif name == "HEAD":
            default = value.removeprefix("ref: refs/heads/")
    return offered, default


def _unknown(shown: str, branch: str, default: str) -> str:
    what = f"no branch, tag or commit {branch!r}" if branch else "no default branch: the repository is empty"
    return f"{shown}: {what}; the default branch is {default!r}" if default and branch else f"{shown}: {what}"
