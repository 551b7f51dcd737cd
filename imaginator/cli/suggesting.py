"""What a shell completes an argument of a command with: names that the daemon knows."""

from __future__ import annotations

from collections.abc import Callable

import click

from imaginator.cli.connecting import connect, identify

Complete = Callable[[click.Context, click.Parameter, str], list[str]]


def one_of(*kinds: str) -> Complete:
    """Names of these kinds, as `imaginator.cli.names.Names` has them, that begin as the word does."""

    def complete(context: click.Context, _parameter: click.Parameter, word: str) -> list[str]:
        return [name for name in _names(context, kinds) if name.startswith(word)]

    return complete


def some_of(kind: str) -> Complete:
    """The same for a list with commas: its last part is completed."""
    complete_one = one_of(kind)

    def complete(context: click.Context, parameter: click.Parameter, word: str) -> list[str]:
        before, comma, last = word.rpartition(",")
        return [f"{before}{comma}{name}" for name in complete_one(context, parameter, last)]

    return complete


def _names(context: click.Context, kinds: tuple[str, ...]) -> list[str]:
    # The tool starts often, and seldom for this.
    from imaginator.cli.names import Place, names_of

    options = context.find_root().params
    identify(options)
    names = names_of(Place(options["imaginator_hostname"], options["imaginator_port"]), lambda: connect(context))
    return [name for kind in kinds for name in names.get(kind, [])]


stream = one_of("streams")
streams = some_of("streams")
image = one_of("images")
image_or_stream = one_of("streams", "images")
running_build = one_of("running")
failed_build = one_of("failed")
