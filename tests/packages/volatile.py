"""What differs between installations although comparing two of them does not always show it."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable

from tests.packages.trees import Difference

NAMES = {
    "etc/ssl/certs/????????.[0-9]": "links named after the digest of a self-signed certificate made at random",
}
"""Patterns of paths that say nothing when only one of two trees has them, with the reason."""

CONTENTS = {
    "var/cache/apt/pkgcache.bin": "holds a time in seconds, a byte of padding that differs by chance, their checksum",
    "var/cache/apt/srcpkgcache.bin": "holds a byte of padding that is one of two values by chance, and its checksum",
    "var/log/apt/*.log": "holds times in seconds, in which quick installations may be alike",
    "var/log/alternatives.log": "holds times in seconds",
    "var/log/dpkg.log": "holds times in seconds",
    "var/cache/ldconfig/aux-cache": "holds, and is ordered by, the device number that an overlay has by chance",
}
"""Patterns of files of which only the metadata is compared, with the reason."""


def is_volatile(difference: Difference) -> bool:
    """Whether a difference says nothing."""
    plain, sandboxed = difference.plain, difference.sandboxed
    if plain is None or sandboxed is None:
        return _matches(difference.path, NAMES)
    return plain.metadata == sandboxed.metadata and _matches(difference.path, CONTENTS)


def _matches(path: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)
