"""Git as a program: where its settings and its secrets come from, how much it may do, and what is told of its failures.

Nothing of the repository's is executed: no hooks, no filters, no configuration of the host's users, only the usual
transports. A URL may hold secrets, so it is never an argument of a program: Git reads it from its environment, and a
remote helper of ours passes HTTP(S) on by the remote's name, where Git itself would put the URL on a command line. The
rest of a location, which may hold secrets too, is `git.Mirror`'s care.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from imaginator.build.retry import Tell, retried
from imaginator.model.errors import BuildFailed, ConfigurationError, ImaginatorError, TimedOut
from imaginator.model.giturl import passwords
from imaginator.model.redaction import SHORTEST_SECRET, Redactor
from imaginator.sandbox.process import Exit, Reactor, Tail, finish, spawn

LONGEST = 600.0
"""Seconds that one Git command may take."""

LONGEST_QUESTION = 90.0
"""Seconds in which a server is to say what branches it has."""

SILENCE = 60
"""Seconds of silence after which a connection is given up."""

LARGEST_ANSWER = 32 << 20
"""Bytes that a Git command may print."""

LARGEST_FILE = 4 << 30
"""Bytes of any file that Git may write, hence of what one fetch may bring; kept by the kernel."""

MOST_MEMORY = 4 << 30
"""Bytes of memory of a Git process: a delta of some kilobytes may mean gigabytes."""

_HELPER = """#!/bin/sh
# Called by git, with its programs on the PATH, as: git-remote-imaginator origin SCHEME
exec "git-remote-$2" hidden
"""

_SETTINGS = {
    "core.attributesFile": "/dev/null",
    "core.bigFileThreshold": "64m",
    "core.fsmonitor": "false",
    "core.hooksPath": "/dev/null",
    # Its names mean nothing on Linux, where a file of an image may have them.
    "core.protectNTFS": "false",
    "fetch.recurseSubmodules": "false",
    "fetch.unpackLimit": "1",
    "gc.auto": "0",
    "http.lowSpeedLimit": "1",
    "init.defaultBranch": "main",
    "maintenance.auto": "false",
    "protocol.version": "2",
}

WITHOUT_CONTENTS = {"remote.origin.promisor": "true", "remote.origin.partialCloneFilter": "blob:none"}
"""Settings of a fetch that leaves out contents; unknown to all others, Git never fetches of its own accord."""

CONTENTS = {**WITHOUT_CONTENTS, "fetch.negotiationAlgorithm": "noop"}
"""Settings of a fetch of contents: the server is not to conclude from our commits that we have them."""

_PASSED_ON = (
    "HOME", "SSH_AUTH_SOCK", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH",
    "http_proxy", "https_proxy", "no_proxy", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY",
)  # fmt: skip

_SSH = "-oBatchMode=yes -oConnectTimeout=30 -oServerAliveInterval=20 -oServerAliveCountMax=3"

_FINAL = re.compile(
    r"Authentication failed|could not read (?:Username|Password)|Permission denied|[Nn]ot found"
    r"|not our ref|returned error: 40[013]|does not appear to be a git repository|unadvertised object"
    r"|Host key verification failed|dubious ownership"
)
"""Words of a server that would answer the same again."""

_ESCAPE = re.compile("%[0-9a-f]{2}")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]+")
_TOO_LARGE = "File too large"


class Remote(NamedTuple):
    """A repository elsewhere: its URL with secrets, the form that may be shown, and what hides the former.

    A server that does not answer is asked again for who has a ``tell``, which hears of it; for others once.
    """

    url: str
    shown: str
    redactor: Redactor
    tell: Tell | None = None

    @property
    def is_local(self) -> bool:
        """Whether it is a directory of this machine."""
        return self.url.startswith(("/", "file:"))

    def redact(self, text: str) -> str:
        """``text`` without secrets, those included that are written out in the URL."""
        # Git writes what it encodes in lower case.
        text = _ESCAPE.sub(lambda found: found[0].upper(), text)
        text = self.redactor.text(text).replace(self.url, self.shown)
        for password in passwords(self.url):
            for form in (password, unquote(password)):
                text = text.replace(form, "***") if len(form) >= SHORTEST_SECRET else text
        return text

    def check_visibility(self) -> None:
        """Raise `ConfigurationError` where a secret would be an argument of ssh or of a local Git, for all to see."""
        if not self.url.startswith(("https:", "http:", "git:")) and self.redactor.text(self.url) != self.url:
            problem = "a secret in this kind of URL would be seen in the list of processes: write it out, or use https"
            raise ConfigurationError(self.shown, problem)


class Git:
    """Runs Git on the repository in ``directory``; ``helpers`` holds our remote helper."""

    def __init__(self, reactor: Reactor, directory: Path, helpers: Path) -> None:
        self.reactor = reactor
        self._helpers = helpers
        self.directory = directory

    def at(self, directory: Path) -> Git:
        """The same on another repository."""
        return Git(self.reactor, directory, self._helpers)

    async def ask(
        self, remote: Remote, *arguments: str, settings: Mapping[str, str] = {}, timeout: float = LONGEST
    ) -> bytes:
        """A command that talks to the repository, tried a few times if that is to be told.

        Raises `ConfigurationError` where the server says something that it would say again.
        """
        if remote.is_local or remote.tell is None:
            return await self.run(remote, *arguments, settings=settings, timeout=timeout)
        attempt = lambda: self.run(remote, *arguments, settings=settings, timeout=timeout)  # noqa: E731
        return await retried(self.reactor, attempt, remote.tell)

    async def run(
        self,
        remote: Remote,
        *arguments: str,
        more: Mapping[str, str] = {},
        settings: Mapping[str, str] = {},
        timeout: float = LONGEST,
        given: bytes = b"",
    ) -> bytes:
        """The output of a command; raises `BuildFailed`, `TimedOut` or `ConfigurationError`, all without secrets."""
        parts: list[bytes] = []
        size = 0

        def take(data: bytes) -> None:
            nonlocal size
            size += len(data)
            if size > LARGEST_ANSWER:
                raise ConfigurationError(
                    remote.shown, f"git {arguments[0]}: more than {LARGEST_ANSWER} bytes of output"
                )
            parts.append(data)

        await self.follow(remote, take, *arguments, more=more, settings=settings, timeout=timeout, given=given)
        return b"".join(parts)

    async def follow(
        self,
        remote: Remote,
        take: Callable[[bytes], None],
        *arguments: str,
        more: Mapping[str, str] = {},
        settings: Mapping[str, str] = {},
        timeout: float = LONGEST,
        given: bytes = b"",
    ) -> None:
        """Run a command, giving its output to ``take``; an `ImaginatorError` that this raises ends the command."""
        refusals: list[ImaginatorError] = []

        def output(data: bytes) -> None:
            if not refusals:
                try:
                    take(data)
                except ImaginatorError as error:
                    refusals.append(error)
                    child.stop("refused")

        words = Tail(output)
        silence = {"http.lowSpeedTime": str(SILENCE)}
        settings = {**_SETTINGS, **_remote_settings(remote.url), **silence, **settings}
        argv = [*_limits(), "git", *arguments]
        child = spawn(self.reactor, argv, {**self._environment(settings), **more}, output=words, given=given)
        try:
            ended = await finish(child, timeout=timeout)
        except TimedOut as error:
            raise TimedOut(f"{remote.shown}: git {arguments[0]}: {error}") from None
        if refusals:
            raise refusals[0]
        if not ended.ok:
            raise _failure(remote, arguments[0], ended, words.text())

    def _environment(self, settings: Mapping[str, str]) -> dict[str, str]:
        environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        environment |= {
            "PATH": f"{self._helpers}:{os.environ.get('PATH', os.defpath)}",
            "LC_ALL": "C",
            "GIT_DIR": str(self.directory),
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "true",
            "GIT_SSH_COMMAND": f"{os.environ.get('GIT_SSH_COMMAND', 'ssh')} {_SSH}",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_LITERAL_PATHSPECS": "1",
            "GIT_ALLOW_PROTOCOL": "http:https:ssh:git:file:imaginator",
            "GIT_CONFIG_COUNT": str(len(settings)),
        }
        for number, (name, value) in enumerate(settings.items()):
            environment |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
        return environment


def _limits() -> list[str]:
    """What a Git command is put behind; it hears of a file's limit by an error, not by a signal that ends it unsaid."""
    return ["prlimit", f"--fsize={LARGEST_FILE}", f"--data={MOST_MEMORY}", "env", "--ignore-signal=XFSZ"]


def write_helpers(directory: Path) -> None:
    """Put our remote helper, found by Git on its ``PATH``, into ``directory``."""
    directory.mkdir(parents=True, exist_ok=True)
    helper = directory / "git-remote-imaginator"
    fresh = directory / ".fresh"
    fresh.write_text(_HELPER)
    fresh.chmod(0o755)
    fresh.replace(helper)


def _failure(remote: Remote, command: str, ended: Exit, words: str) -> ImaginatorError:
    if _TOO_LARGE in words:
        return ConfigurationError(remote.shown, f"git {command}: more than {LARGEST_FILE} bytes")
    told = f"git {command}: {ended.describe()}: {remote.redact(_CONTROL.sub(' ', words))}"
    if _FINAL.search(words):
        return ConfigurationError(remote.shown, told)
    return BuildFailed(f"{remote.shown}: {told}")


def _remote_settings(url: str) -> dict[str, str]:
    scheme = url.partition(":")[0]
    if scheme in ("http", "https"):
        return {"remote.origin.url": f"imaginator::{scheme}", "remote.hidden.url": url}
    if url.startswith(("/", "file:")):
        return {"remote.origin.url": url, **_as_owner(Path(unquote(url.removeprefix("file://"))))}
    return {"remote.origin.url": url}


def _as_owner(repository: Path) -> dict[str, str]:
    """Let a local repository be served by its owner: root refuses those of others, whose settings can run programs."""
    try:
        owner = repository.stat()
    except (OSError, ValueError):  # a NUL in it
        return {}
    if owner.st_uid == os.geteuid():
        return {}
    program = f"setpriv --reuid={owner.st_uid} --regid={owner.st_gid} --clear-groups git-upload-pack"
    return {"remote.origin.uploadpack": program}
