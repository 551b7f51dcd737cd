"""The commands of builder-tool that tell which stream builds on which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from imaginator.cli import suggesting
from imaginator.cli.connecting import connect, duration
from imaginator.cli.output import json_option, note, show_json, show_result


def _names(_context: click.Context, _option: click.Parameter, values: Sequence[str]) -> list[str]:
    return [name for value in values for name in value.split(",") if name]


_max_age = click.option(
    "--max-age",
    type=duration,
    default="0",
    show_default=True,
    help="How old what the daemon knows already may be; 0: it looks anew.",
)
_excludes = click.option(
    "--excludes",
    multiple=True,
    metavar="NAME,...",
    callback=_names,
    shell_complete=suggesting.streams,
    help="Leave out these streams, those below these names, and their dependents.",
)
_includes = click.option(
    "--includes",
    multiple=True,
    metavar="NAME,...",
    callback=_names,
    shell_complete=suggesting.streams,
    help="Only these streams, those below these names, their dependents and their sources.",
)


@click.command("get-dependencies")
@_max_age
@_excludes
@_includes
@json_option
@click.pass_context
def get_dependencies(context: click.Context, /, as_json: bool, **wanted: Any) -> None:
    """Print, always as JSON, on which stream each stream builds, and which sources cannot be built."""
    answer = _ask(context, "Imaginator.GetDependencies", **wanted)
    for stream, problem in sorted(answer.pop("StreamErrors").items()):
        note(f"{stream}: {problem}")
    show_json(answer)


@click.command("get-digraph")
@_max_age
@_excludes
@_includes
@json_option
@click.pass_context
def get_digraph(context: click.Context, /, as_json: bool, **wanted: Any) -> None:
    """Print for Graphviz on which stream each stream builds."""
    answer = _ask(context, "Imaginator.GetDirectedGraph", **wanted)
    if as_json:
        show_json(answer)
    else:
        show_result(answer["GraphvizDot"].rstrip("\n"))


def _ask(
    context: click.Context, method: str, max_age: float, excludes: list[str], includes: list[str]
) -> dict[str, Any]:
    with connect(context) as client:
        answer: dict[str, Any] = client.call(method, MaxAge=max_age, Excludes=excludes, Includes=includes)
    if answer["LastAttemptError"]:
        note(f"the last attempt failed: {answer['LastAttemptError']}")
    return answer
