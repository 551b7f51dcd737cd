"""Image manifests on disk: from a directory to a checked value. Without Twisted, for the tool that checks them.

Everything that can be known to be wrong is found here, before anything is unpacked or run.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from imaginator.model.errors import ConfigurationError
from imaginator.model.manifest import TEXT_FILES, Manifest, decode_manifest
from imaginator.model.problems import Problem, Warn, bounded, untold
from imaginator.sandbox.beneath import read_all
from imaginator.sandbox.kernel.files import open_within

LARGEST_TEXT = 4 << 20
"""Bytes of one text file of a manifest."""

FILES = ("files", "files.append", "post-install-files", "post-install-files.append", "post-scripts-files", "tests")
"""The directories of a manifest whose content goes into the image."""

SCRIPTS = ("pre-install-scripts", "scripts", "post-cleanup-scripts")
"""Those whose files run in it."""

_STAND_IN = b'{"SourceImage": "$"}'
"""For the one required text, where it is there and cannot be read."""

_KNOWN = {*TEXT_FILES, *FILES, *SCRIPTS}


def load_manifest(directory: Path, where: str, warn: Warn = untold) -> Manifest:
    """Read and check the manifest in ``directory``, called ``where`` in errors; blocks, so for worker threads.

    Raises `ConfigurationError` with everything that is wrong.
    """
    problems = [problem.readable() for problem in bounded(_check_directories(directory, where, warn))]
    texts = {}
    for name in TEXT_FILES:
        try:
            data = text_of(directory / name, directory, f"{where}/{name}")
        except ConfigurationError as error:
            problems += error.problems
            data = _STAND_IN if name == "manifest" else None
        if data is not None:
            texts[name] = data
    return _decoded(texts, where, problems, warn)


def _decoded(texts: dict[str, bytes], where: str, problems: list[Problem], warn: Warn) -> Manifest:
    try:
        manifest = decode_manifest(texts, where, warn)
    except ConfigurationError as error:
        raise ConfigurationError.of([*problems, *error.problems]) from None
    if problems:
        raise ConfigurationError.of(problems)
    return manifest


def _check_directories(directory: Path, where: str, warn: Warn) -> Iterator[Problem]:
    """What is wrong with the parts of a manifest that are copied or run; ``warn`` hears of what has no effect."""
    for name in (*FILES, *SCRIPTS):
        part = directory / name
        try:
            if _leaves(part, directory):
                yield Problem(f"{where}/{name}", "a symbolic link that leaves the manifest")
            elif part.is_dir():
                check = _check_scripts if name in SCRIPTS else _check_files
                yield from check(part, f"{where}/{name}", directory)
            elif os.path.lexists(part):
                yield Problem(f"{where}/{name}", "not a directory")
        except OSError as error:
            yield Problem(f"{where}/{name}", f"cannot be read: {error.strerror}")
    for entry in sorted(path.name for path in directory.iterdir()):
        if entry not in _KNOWN and _looks_like_a_part(entry):
            warn(Problem(f"{where}/{entry}", "has no effect: no part of a manifest is called so"))


def _looks_like_a_part(name: str) -> bool:
    """Whether somebody may have meant a part of a manifest, in other words."""
    words = ("script", "filter", "trigger", "package", "computed", "files", "owners", "tags")
    return any(word in name.lower() for word in words)


def _check_files(part: Path, where: str, _directory: Path) -> Iterator[Problem]:
    """Files, directories and links are copied, links as they are; nothing else can be."""
    with os.scandir(part) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            mode = entry.stat(follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode):
                yield from _check_files(part / entry.name, f"{where}/{entry.name}", part)
            elif not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
                yield Problem(f"{where}/{entry.name}", _neither(mode))


def _check_scripts(part: Path, where: str, directory: Path) -> Iterator[Problem]:
    """The files of the directory itself run, through links too; hidden ones do not."""
    with os.scandir(part) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            path = part / entry.name
            shown = f"{where}/{entry.name}"
            if entry.name.startswith("."):
                continue
            if _leaves(path, directory):
                yield Problem(shown, "a symbolic link that leaves the manifest")
            elif not path.exists():
                yield Problem(shown, "a symbolic link to nothing")
            elif not (path.is_file() or path.is_dir()):
                yield Problem(shown, _neither(path.stat().st_mode))


_KINDS = {stat.S_IFIFO: "a fifo", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


def _neither(mode: int) -> str:
    return f"{_KINDS.get(stat.S_IFMT(mode), 'something else')}: expected a file, a directory or a symbolic link"


def _leaves(path: Path, directory: Path) -> bool:
    """Whether a link leads out of the manifest; one that leads round in circles leads nowhere."""
    return path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(directory))


def text_of(path: Path, directory: Path, where: str) -> bytes | None:
    """A file's content, None where there is none; links are followed within the manifest only.

    Raises `ConfigurationError` for anything but a regular file of at most `LARGEST_TEXT` bytes.
    """
    try:
        descriptor = _open(path, directory)
    except FileNotFoundError:
        if path.is_symlink():
            raise ConfigurationError(where, "a symbolic link to nothing") from None
        return None
    except OSError as error:
        leaves = error.errno == errno.EXDEV
        problem = "a symbolic link that leaves the manifest" if leaves else f"cannot be read: {error.strerror}"
        raise ConfigurationError(where, problem) from None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise ConfigurationError(where, "not a regular file")
        if found.st_size > LARGEST_TEXT:
            raise ConfigurationError(where, f"{found.st_size} bytes: at most {LARGEST_TEXT} are allowed")
        return read_all(descriptor, LARGEST_TEXT)
    finally:
        os.close(descriptor)


def _open(path: Path, directory: Path) -> int:
    top = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # O_NONBLOCK: opening a fifo must not wait for its writer.
        return open_within(top, os.fsencode(path.name), os.O_RDONLY | os.O_NONBLOCK, links=True)
    finally:
        os.close(top)
