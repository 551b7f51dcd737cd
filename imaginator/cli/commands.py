"""All commands of builder-tool, each imported when it is asked for: one that only asks a daemon starts at once."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import NamedTuple, NoReturn

import click


class Row(NamedTuple):
    """A command: the module in which a function is called like it, and how it may be called."""

    module: str
    examples: tuple[str, ...]


COMMANDS = {
    "build-image": Row(
        "builds",
        (
            "builder-tool build-image web/front",
            "builder-tool --imaginator-hostname builds.example build-image --expires-in 12h web/front my-branch",
        ),
    ),
    "list-builds": Row(
        "builds",
        (
            "builder-tool list-builds --state failed --limit 10",
            "builder-tool list-builds --stream web --json",
        ),
    ),
    "cancel-build": Row("builds", ("builder-tool cancel-build 01KB3Q0YF8Z5M4V7T2R9N6D1HC",)),
    "shell": Row(
        "builds",
        (
            "builder-tool shell 01KB3Q0YF8Z5M4V7T2R9N6D1HC",
            "builder-tool shell 01KB3Q0YF8Z5M4V7T2R9N6D1HC cat /etc/os-release",
        ),
    ),
    "build-from-manifest": Row(
        "building",
        (
            "builder-tool build-from-manifest manifests/front web/front",
            "builder-tool build-from-manifest --state-dir store --configuration-url conf.json manifests/front front",
        ),
    ),
    "build-tree-from-manifest": Row(
        "building",
        (
            "builder-tool build-tree-from-manifest -o tree manifests/front",
            "builder-tool build-tree-from-manifest --state-dir store --variable COLOUR=blue manifests/front",
        ),
    ),
    "process-manifest": Row("building", ("builder-tool process-manifest manifests/front root",)),
    "disable-auto-builds": Row("pausing", ("builder-tool disable-auto-builds --disable-for 2h",)),
    "disable-build-requests": Row("pausing", ("builder-tool disable-build-requests --disable-for 30m",)),
    "enable-auto-builds": Row("pausing", ("builder-tool enable-auto-builds",)),
    "enable-build-requests": Row("pausing", ("builder-tool enable-build-requests",)),
    "start-auto-builds": Row(
        "pausing",
        (
            "builder-tool start-auto-builds",
            "builder-tool start-auto-builds --wait-to-start --wait-for-complete",
        ),
    ),
    "list-images": Row(
        "images", ("builder-tool list-images", "builder-tool list-images --state-dir /var/lib/builder-tool")
    ),
    "show-image": Row(
        "images",
        (
            "builder-tool show-image web/front",
            "builder-tool show-image --json web/front/2026-11-22:23:38:05",
        ),
    ),
    "get-image": Row(
        "images",
        (
            "builder-tool get-image web/front -o front.tar",
            "builder-tool get-image web/front -o front",
        ),
    ),
    "change-image-expiration": Row(
        "expiry",
        (
            "builder-tool change-image-expiration web/front 12h",
            "builder-tool change-image-expiration web/front/2026-11-22:23:38:05 never",
        ),
    ),
    "delete-image": Row("expiry", ("builder-tool delete-image web/front/2026-11-22:23:38:05",)),
    "get-dependencies": Row(
        "graphs",
        (
            "builder-tool get-dependencies",
            "builder-tool get-dependencies --max-age 1h --includes web/front",
        ),
    ),
    "get-digraph": Row("graphs", ("builder-tool get-digraph --excludes web/front,test",)),
    "check-manifest": Row("checking", ("builder-tool check-manifest manifests/front",)),
    "check-config": Row(
        "checking",
        (
            "builder-tool check-config conf.json",
            "builder-tool check-config --json --kind main conf.json",
        ),
    ),
    "make-certificates": Row("certifying", ("builder-tool make-certificates certificates --user ann --group web",)),
    "completion": Row("completing", ("builder-tool completion bash",)),
}
"""Every command by its name."""

GONE = {
    "build-raw-from-manifest": "make a disk image of the tree that build-tree-from-manifest builds",
    "replace-idle-slaves": "nothing has to be done: builds run in sandboxes beside the daemon, and there are no slaves",
}
"""What replaces the commands of the original that are no more."""


class Commands(click.Group):
    """The group of all commands."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the table's order."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context | None, cmd_name: str) -> click.Command | None:
        """The command of a name; None where there is none."""
        return command(cmd_name) if cmd_name in COMMANDS else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is named; a usage error for others, with what replaces one of the original's."""
        if args[0] in GONE:
            _gone(ctx, args[0])
        return super().resolve_command(ctx, args)


def command(name: str) -> click.Command:
    """A command of the table."""
    row = COMMANDS[name]
    module = importlib.import_module(f"imaginator.cli.{row.module}")
    found: click.Command = getattr(module, name.replace("-", "_"))
    found.epilog = "\n".join(("\b", "Examples:", *(f"  {example}" for example in row.examples)))
    return found


def every_command() -> Iterator[click.Command]:
    """All commands of the table."""
    return map(command, COMMANDS)


def _gone(context: click.Context, name: str) -> NoReturn:
    context.fail(f"there is no command {name} any more: {GONE[name]}")
