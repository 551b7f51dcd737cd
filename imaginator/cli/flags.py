"""Flags as the original wrote them, on the command line and in files, turned into those of today.

The original's flags stand before the command, have one dash and are spelled in camel case: ``-expiresIn=2h``,
``-alwaysShowBuildLog=true``. Flags files are as `imaginator.model.flags` has them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

import click

from imaginator.model.flags import FILES, flag_lines, modern_name

DIRECTORIES = (Path("/etc/config/builder-tool"), Path("~/.config/builder-tool"))
"""Where flags files lie; a later one overrides an earlier one."""

_RENAMED = {"imaginator-port-num": "imaginator-port"}
_DROPPED = ("slave-driver", "create-slave")
_TRUE = ("", "1", "t", "true")
_FLAG = re.compile(r"--?(?P<name>[A-Za-z][A-Za-z0-9-]+)(?P<equals>=)?(?P<value>.*)", re.DOTALL)

Warn = Callable[[str], None]


class Spelling:
    """The options there are, by name: of a group, and of its commands, which are looked at when they have to be."""

    def __init__(self, group: click.Group) -> None:
        self._group = group
        self._context = click.Context(group)
        self.own = _options(group)

    def find(self, name: str) -> click.Option | None:
        """An option of the group or of any command."""
        return self.own.get(name) or self._inner.get(name)

    def of(self, command: str) -> dict[str, click.Option]:
        """The options of a command; none where there is no such command."""
        found = self._group.get_command(self._context, command)
        return _options(found) if found else {}

    @cached_property
    def _inner(self) -> dict[str, click.Option]:
        names = self._group.list_commands(self._context)
        return {name: option for command in names for name, option in self.of(command).items()}


def modernise(arguments: Sequence[str], spelling: Spelling, warn: Warn) -> list[str]:
    """The command line with the original's flags spelled as ours; a command's flags are moved behind its name."""
    pending = list(arguments)
    before: list[str] = []
    moved: list[str] = []
    while pending and pending[0].startswith("-"):
        name, words = _take(pending, spelling.find, warn)
        (moved if name and name not in spelling.own else before).extend(words)
    command, pending = pending[:1], pending[1:]
    after: list[str] = []
    own = spelling.of(command[0]) if command else {}
    while pending and pending[0] != "--":
        after += _take(pending, own.get, warn)[1]
    return [*before, *command, *moved, *after, *pending]


def read_flags(directories: Iterable[Path], spelling: Spelling, warn: Warn) -> dict[str, str]:
    """The values that flags files give, by parameter name (``imaginator_hostname``); raises OSError."""
    values: dict[str, str] = {}
    for directory in directories:
        for path in (directory.expanduser() / name for name in FILES):
            if path.exists():
                values.update(_read_file(path, spelling, warn))
    return values


def _read_file(path: Path, spelling: Spelling, warn: Warn) -> Iterator[tuple[str, str]]:
    for number, name, value in flag_lines(path.read_text()):
        option = _RENAMED.get(name, name)
        if spelling.find(option):
            yield option.replace("-", "_"), value
        else:
            warn(f"{path}, line {number}: {_why_ignored(option)}")


def _take(pending: list[str], find: Callable[[str], click.Option | None], warn: Warn) -> tuple[str, list[str]]:
    """Take one argument, with its value where that is the next one; its option's name and what becomes of it."""
    word = pending.pop(0)
    match = _FLAG.fullmatch(word)
    name = _modern_name(match["name"]) if match else ""
    if match is None or name.startswith(_DROPPED):
        if match:
            warn(_why_ignored(name))
        return "", [] if match else [word]
    option = find(name)
    if option is None:
        return "", [word]
    if option.is_flag:
        return name, [f"--{name}"] if match["value"].lower() in _TRUE else []
    if not match["equals"] and pending:
        return name, [f"--{name}", pending.pop(0)]
    return name, [f"--{name}{match['equals'] or ''}{match['value']}"]


def _modern_name(name: str) -> str:
    modern = modern_name(name)
    return _RENAMED.get(modern, modern)


def _why_ignored(name: str) -> str:
    reason = "builds need no slaves any more" if name.startswith(_DROPPED) else "there is no such flag"
    return f"--{name} is ignored: {reason}"


def _options(command: click.Command) -> dict[str, click.Option]:
    return {_name(option): option for option in command.params if isinstance(option, click.Option)}


def _name(option: click.Option) -> str:
    return max(option.opts, key=len).lstrip("-")
