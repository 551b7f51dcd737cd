"""``/bin/generic-packager``: one face for every family of package tools, a POSIX shell script in the image.

The arguments of the configured commands are literal: each becomes one single-quoted word, which no shell looks into.
"""

from __future__ import annotations

from collections.abc import Sequence

from imaginator.model.errors import BuildFailed
from imaginator.model.image import Package
from imaginator.model.settings import PackagerType

PATH = b"/bin/generic-packager"
"""Where the script lies in an image."""

_SCRIPT = """\
#!/bin/sh
# Written by imaginator; see the packager types of its configuration.
cmd="${{1-}}"
[ $# -eq 0 ] || shift
{verbatim}
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
    """The script for one packager type."""
    patterns = ["printf", "%s\\n", *packager.clean_patterns] if packager.clean_patterns else []
    script = _SCRIPT.format(
        verbatim="\n".join(packager.verbatim),
        clean=_command(packager.clean_command),
        install=_command(packager.install_command, takes_names=True),
        list=_command(packager.list_command.arg_list),
        remove=_command(packager.remove_command, takes_names=True),
        patterns=_command(patterns),
        multiplier=_command(["printf", "%s\\n", str(packager.list_command.size_multiplier or 1)]),
        update=_command(packager.update_command),
        upgrade=_command(packager.upgrade_command),
    )
    return script.encode(errors="surrogateescape")


def quote(word: str) -> str:
    """``word`` as the shell reads it back, whatever it contains."""
    return "'" + word.replace("'", "'\\''") + "'"


def _command(words: Sequence[str], takes_names: bool = False) -> str:
    """A command line; an unset command does nothing, successfully."""
    if not words:
        return ":"
    line = " ".join(map(quote, words))
    return f'{line} "$@"' if takes_names else line


def parse_list(output: bytes, multiplier: int) -> tuple[Package, ...]:
    """The packages of ``generic-packager list``, by name: ``name version [size]`` a line, the last duplicate wins.

    A size times ``multiplier`` is bytes. Raises `BuildFailed` with the number of a line that makes no sense.
    """
    lines = output.decode(errors="replace").splitlines()
    found = {}
    for number, line in enumerate(lines, 1):
        if line.strip():
            package = _package(line, number, multiplier)
            found[package.name] = package
    return tuple(found[name] for name in sorted(found))


def _package(line: str, number: int, multiplier: int) -> Package:
    name, *rest = line.split()
    if not rest:
        raise BuildFailed(f"package list: line {number}: {line!r}: expected a name, a version and perhaps a size")
    size = rest[1] if len(rest) > 1 else "0"
    if not (size.isascii() and size.isdecimal()):
        raise BuildFailed(f"package list: line {number}: {line!r}: {size!r} is no size")
    return Package(name, rest[0], int(size) * multiplier)
