"""What may name a Git repository, a revision in it, or one of its files: one rule each."""

from __future__ import annotations

import re
from typing import NamedTuple

from imaginator.model.errors import ConfigurationError

LONGEST_URL = 4096
"""Characters of a URL."""

_PLAIN = r"[^\s\x00-\x1f\x7f\ud800-\udfff]"
_HOST = r"(?:[^\s\x00-\x1f\x7f\ud800-\udfff/@-][^\s\x00-\x1f\x7f\ud800-\udfff/@]*@)?(?![-/])"
_URL = re.compile(
    rf"(?:https?|ssh|git)://{_HOST}{_PLAIN}+"
    rf"|[\w.+][\w.+-]*@\w[\w.-]*:(?!-){_PLAIN}+"
    rf"|(?:file://)?/{_PLAIN}*"
)
_FILE = re.compile(rf"((?:(?:https?|ssh|git)://|[\w.+-]+@)[^\s]*?\.git)/({_PLAIN}+)")
# As git-check-ref-format(1) has it.
_BRANCH = re.compile(
    r"(?![-./])(?!.*(?:\.\.|@\{|//|/\.|\.lock(?:/|$)))[^\x00-\x20\x7f~^:?*\[\\\ud800-\udfff]{1,255}(?<![./])"
)
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_SHORT_COMMIT = re.compile(r"[0-9a-f]{7,63}")
_PASSWORD = re.compile(r"(?P<before>://[^/@:]*:)(?P<word>[^/@$][^/@]*)(?=@)")
# A user alone, over HTTP: nobody is there to be asked for a password, so it is a token.
_TOKEN = re.compile(r"^(?P<before>https?://)(?P<word>[^/@:$][^/@:]*)(?=@)")


class RepositoryFile(NamedTuple):
    """A file in a Git repository, of its default branch."""

    repository: str
    path: str


def check_url(url: str, shown: str) -> None:
    """Raise `ConfigurationError` unless ``url`` names a repository by one of the usual transports."""
    check_length(url, shown)
    if not _URL.fullmatch(url):
        raise ConfigurationError(shown, "no Git URL: expected https://, http://, ssh://, git://, file:// or user@host:")


def check_length(url: str, shown: str) -> None:
    """Raise `ConfigurationError`, which shows only the beginning, for a location that is too long to be one."""
    if len(url) > LONGEST_URL:
        raise ConfigurationError(shown[:80], f"no URL: {len(url)} characters, at most {LONGEST_URL} are allowed")


def check_branch(branch: str, shown: str) -> None:
    """Raise `ConfigurationError` unless ``branch`` can be the name of a branch or tag."""
    if not _BRANCH.fullmatch(branch):
        raise ConfigurationError(shown, f"{branch[:256]!r} is no name of a branch, tag or commit")


def is_commit(text: str) -> bool:
    """Whether a text is the full id of a commit."""
    return _COMMIT.fullmatch(text) is not None


def is_short_commit(text: str) -> bool:
    """Whether a text looks like the beginning of a commit's id."""
    return _SHORT_COMMIT.fullmatch(text) is not None


def repository_file(url: str) -> RepositoryFile | None:
    """The two halves of ``<git url ending in .git>/path/in/repo``; None for any other URL."""
    found = _FILE.fullmatch(url)
    return RepositoryFile(*found.groups()) if found else None


def without_password(url: str) -> str:
    """The form that may be shown of a URL with a literal password or token in it; a variable's name stays."""
    if "@" not in url:
        return url
    return _TOKEN.sub(r"\g<before>***", _PASSWORD.sub(r"\g<before>***", url))


def passwords(url: str) -> list[str]:
    """The literal password or token of a URL, if there is one."""
    return [found["word"] for pattern in (_PASSWORD, _TOKEN) if (found := pattern.search(url))]
