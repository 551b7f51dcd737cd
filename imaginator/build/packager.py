"""``/bin/generic-packager``: one face for every family of package tools, a POSIX shell script in the image.

The arguments of the configured commands are literal: each becomes one single-quoted word, which no shell looks into.
"""

from __future__ import annotations

from collections.abc import Sequence

from imaginator.model.errors import BuildFailed
from imaginator.model.image import Package
from imaginator.model.packagers import PackagerType

PATH = b"/bin/generic-packager"
"""Where the script lies in an image."""

_NOTHING = ":"
_DIGITS = 18
_LARGEST_SIZE = (1 << 63) - 1
_SHOWN = 200

_SCRIPT = """\
#!/bin/sh
# Written by imaginator; see the packager types of its configuration.
{verbatim}

cmd="${{1-}}"
[ "$#" -eq 0 ] || shift
case "$cmd" in
    clean) {clean} ;;
    copy-in) exec cat > "$1" ;;
    install) {install} ;;
    list) {list} ;;
    remove) {remove} ;;
    run) exec "$@" ;;
    show-clean-patterns) {patterns} ;;
    show-size-multiplier) {multiplier} ;;
    update) {update} ;;
    upgrade) {upgrade} ;;
    *)
        printf '%s\\n' "Invalid command: $cmd"
        exit 2
        ;;
esac
"""


def generic_packager_script(packager: PackagerType) -> bytes:
    """The script for one packager type.

    Its verbatim lines come first, so that they may use any variable; the empty line after them ends a continued one.
    """
    patterns = _line(["printf", "%s\\n", *packager.clean_patterns]) if packager.clean_patterns else _NOTHING
    return _SCRIPT.format(
        verbatim="\n".join(packager.verbatim),
        clean=_command(packager.clean_command),
        install=_command(packager.install_command),
        list=_command(packager.list_command.arg_list),
        remove=_command(packager.remove_command),
        patterns=patterns,
        multiplier=_line(["printf", "%s\\n", str(packager.list_command.size_multiplier or 1)]),
        update=_command(packager.update_command),
        upgrade=_command(packager.upgrade_command),
    ).encode()


def quote(word: str) -> str:
    """``word`` as the shell reads it back, whatever it contains."""
    return "'" + word.replace("'", "'\\''") + "'"


def _line(words: Sequence[str]) -> str:
    return " ".join(map(quote, words))


def _command(words: Sequence[str]) -> str:
    """A configured command, which is given what the script is given; an unset one does nothing, successfully."""
    return f'{_line(words)} "$@"' if words else _NOTHING


def parse_multiplier(output: bytes) -> int:
    """The answer of ``generic-packager show-size-multiplier``; none is 1. Raises `BuildFailed` for no number."""
    multiplier = _number(output.strip() or b"1")
    if multiplier is None:
        raise BuildFailed(f"package show-size-multiplier: {_shown(output)} is no number")
    return multiplier


def parse_list(output: bytes, multiplier: int) -> tuple[Package, ...]:
    """The packages of ``generic-packager list``, by name: ``name version [size]`` a line, the last duplicate wins.

    A size times ``multiplier`` is bytes. Raises `BuildFailed` with the number of a line that makes no sense.
    """
    found = {}
    for number, line in enumerate(output.split(b"\n"), 1):
        if line.strip():
            package = _package(line, f"package list: line {number}: {_shown(line)}", multiplier)
            found[package.name] = package
    return tuple(found[name] for name in sorted(found))


def _package(line: bytes, place: str, multiplier: int) -> Package:
    name, *rest = line.split()
    if not rest:
        raise BuildFailed(f"{place}: expected a name, a version and perhaps a size")
    size = _number(rest[1] if len(rest) > 1 else b"0")
    if size is None or size * multiplier > _LARGEST_SIZE:
        raise BuildFailed(f"{place}: {_shown(rest[1])} is no size")
    return Package(_text(name), _text(rest[0]), size * multiplier)


def _number(digits: bytes) -> int | None:
    return int(digits) if digits.isdigit() and len(digits) <= _DIGITS else None


def _text(word: bytes) -> str:
    return word.decode(errors="replace")


def _shown(line: bytes) -> str:
    return repr(_text(line[:_SHOWN]))
