"""Packager types: how one family of packages is handled, and what is wrong, or doubtful, with such a definition."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from imaginator.model.codec import JsonFile
from imaginator.model.filters import check_lines
from imaginator.model.places import Path
from imaginator.model.words import check_word, seen_by_a_shell

_SHOWN = 60
_OURS = ("IndexCommand", "SimulateCommand")
"""The original has no such commands."""


class ListCommand(msgspec.Struct, frozen=True, rename="pascal"):
    """How installed packages are listed; sizes times ``size_multiplier`` are bytes."""

    arg_list: tuple[str, ...] = ()
    size_multiplier: int = 1


class PackageCache(msgspec.Struct, frozen=True, rename="pascal"):
    """Where a packager keeps what it downloads: those files of an image's ``directory`` that end in ``suffix``.

    They are kept for later builds, which find them in ``offer_in``, a directory within it (empty: in it itself). That
    must be where the packager checks what it finds, since any build may have put it there.
    """

    directory: str
    offer_in: str = ""
    suffix: str = ""


class PackagerType(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """How one family of packages is handled; an absent command does nothing and succeeds.

    ``index_command`` prints something that differs when the package index does. ``simulate_command``, given names of
    packages, prints what upgrading and then installing them would bring now: a name and a version a line, ``-`` for the
    version of a package that would go. Where they are absent, nobody can tell without installing.
    """

    clean_command: tuple[str, ...] = ()
    clean_patterns: tuple[str, ...] = ()
    index_command: tuple[str, ...] = ()
    install_command: tuple[str, ...] = ()
    list_command: ListCommand = ListCommand()
    package_cache: PackageCache | None = None
    remove_command: tuple[str, ...] = ()
    simulate_command: tuple[str, ...] = ()
    update_command: tuple[str, ...] = ()
    upgrade_command: tuple[str, ...] = ()
    verbatim: tuple[str, ...] = ()

    def words(self) -> Iterator[tuple[Path, str]]:
        """Each word of each command, with its place."""
        yield from _placed(("CleanCommand",), self.clean_command)
        yield from _placed(("IndexCommand",), self.index_command)
        yield from _placed(("InstallCommand",), self.install_command)
        yield from _placed(("ListCommand", "ArgList"), self.list_command.arg_list)
        yield from _placed(("RemoveCommand",), self.remove_command)
        yield from _placed(("SimulateCommand",), self.simulate_command)
        yield from _placed(("UpdateCommand",), self.update_command)
        yield from _placed(("UpgradeCommand",), self.upgrade_command)


def check_packager(file: JsonFile, packager: PackagerType, place: Path) -> None:
    """Tell a file of everything that is wrong with the packager type at ``place``, and of what is doubtful."""
    lines = [*_placed(("CleanPatterns",), packager.clean_patterns), *_placed(("Verbatim",), packager.verbatim)]
    for at, word in (*packager.words(), *lines):
        file.check((*place, *at), check_word, word)
    file.check((*place, "Verbatim"), check_word, "\n".join(packager.verbatim))
    check_lines(file, (*place, "CleanPatterns"), packager.clean_patterns)
    for at, pattern in _placed(("CleanPatterns",), packager.clean_patterns):
        if "\n" in pattern:
            file.wrong((*place, *at), "a line break, expected one regular expression of one line")
    if packager.list_command.size_multiplier < 0:
        file.wrong((*place, "ListCommand", "SizeMultiplier"), "negative, expected a number of bytes")
    _check_package_cache(file, packager.package_cache, (*place, "PackageCache"))
    for at, sentence in literal_arguments(packager):
        file.doubtful((*place, *at), sentence)


def literal_arguments(packager: PackagerType) -> Iterator[tuple[Path, str]]:
    """Place and sentence for each argument of its commands that the original would have let the shell see.

    Only for these: arguments with white space within are literal to both, as is the format that every configuration for
    dpkg or rpm holds, dollar signs and all. A warning that everybody gets is one that nobody reads.
    """
    for place, word in packager.words():
        if seen_by_a_shell(word) and place[0] not in _OURS:
            yield place, _sentence(word)


def _sentence(word: str) -> str:
    shown = word if len(word) <= _SHOWN else f"{word[:_SHOWN]}…"
    return f"{shown!r} reaches the program as it stands; the original let the shell interpret it"


def _placed(place: Path, words: Sequence[str]) -> Iterator[tuple[Path, str]]:
    return (((*place, at), word) for at, word in enumerate(words))


def _check_package_cache(file: JsonFile, cache: PackageCache | None, place: Path) -> None:
    if cache is None:
        return
    if not cache.directory.startswith("/") or not all(map(_is_name, cache.directory[1:].split("/"))):
        file.wrong((*place, "Directory"), f"{cache.directory!r}, expected an absolute path below /")
    if cache.offer_in and ("/" in cache.offer_in or not _is_name(cache.offer_in)):
        file.wrong((*place, "OfferIn"), f"{cache.offer_in!r}, expected the name of one directory")


def _is_name(name: str) -> bool:
    return name not in ("", ".", "..")
