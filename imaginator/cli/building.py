"""The commands that build without a daemon, on the same code as it.

What needs Twisted is imported when a build begins: other commands start without it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec
from click.core import ParameterSource

from imaginator.cli import suggesting
from imaginator.cli.connecting import connect, duration, variables
from imaginator.cli.output import json_option, show_json, show_result
from imaginator.cli.scratch import scratch
from imaginator.cli.wishes import LocalBuild, Origins
from imaginator.model.errors import InvalidRequest
from imaginator.model.names import check_stream_name

STATE = Path("/var/lib/builder-tool")
CONFIGURATION = Path("/etc/imaginator/conf.json")
UNNAMED = "local"
"""The stream of a manifest whose directory's name cannot be one."""

Decorator = Callable[[Any], Any]

_directory = click.Path(exists=True, file_okay=False, path_type=Path, resolve_path=True)
_manifest = click.argument("manifest", metavar="DIR", type=_directory)


def _options(*options: Decorator) -> Decorator:
    def decorate(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


_common = _options(
    click.option("--configuration-url", default="", help=f"A daemon's configuration; else {CONFIGURATION}, if there."),
    click.option("--variables-file", default="", help="NAME=Value lines: secrets that expand in its URLs."),
    click.option(
        "--variable", "variables", multiple=True, metavar="NAME=VALUE", callback=variables, help="Set for the build."
    ),
    click.option("--always-show-build-log", is_flag=True, help="Show the build log as it grows on a terminal, too."),
    json_option,
)
_over_source = _options(
    click.option(
        "--state-dir",
        type=click.Path(file_okay=False, path_type=Path, resolve_path=True),
        default=STATE,
        show_default=True,
        help="The local store.",
    ),
    click.option(
        "--max-source-age",
        type=duration,
        default="0",
        help="A source image in the local store that is older does not count; 0: any will do.",
    ),
)
_stream = click.option(
    "--stream",
    metavar="NAME",
    shell_complete=suggesting.stream,
    help="What the build takes for its stream; else DIR's own name.",
)


@click.command("build-from-manifest")
@_manifest
@click.argument("stream", shell_complete=suggesting.stream)
@click.option(
    "--expires-in", type=duration, default="30d", show_default=True, help="How long the image is kept; 0: for ever."
)
@_over_source
@_common
@click.pass_context
def build_from_manifest(context: click.Context, /, **wishes: Any) -> None:
    """Build an image of STREAM from the manifest in DIR, in a local store, and print the image's name.

    Its source image comes from the local store; or from the daemon, where --imaginator-hostname names one; or it is
    built as the configuration says. The build log goes to ./build.log. Needs root.
    """
    from imaginator.cli import local

    _conclude(context, wishes, "ImageName", local.build_image(_build(context, wishes)))


@click.command("build-tree-from-manifest")
@_manifest
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where the tree is made: a directory that is missing or empty; else a new one below $TMPDIR or /tmp.",
)
@_stream
@_over_source
@_common
@click.pass_context
def build_tree_from_manifest(context: click.Context, /, output: Path | None, **wishes: Any) -> None:
    """Build the tree of an image from the manifest in DIR, and print the path of the tree.

    It is what the image would hold: filtered and tested. Its source image is found as build-from-manifest does. The
    build log goes to ./build.log. Needs root.
    """
    from imaginator.cli import local

    build = _build(context, {**wishes, "expires_in": local.BRIEFLY})
    place = output or Path(tempfile.gettempdir()) / f"tree-{build.id}"
    _conclude(context, wishes, "Directory", local.build_tree(build, place.absolute()))


@click.command("process-manifest")
@_manifest
@click.argument("root", metavar="ROOT", type=_directory)
@_stream
@_common
@click.pass_context
def process_manifest(context: click.Context, /, root: Path, **wishes: Any) -> None:
    """Apply the manifest in DIR to the tree in ROOT, in place: it is neither filtered nor tested.

    Commands see ROOT as / and nothing outside. Where one fails, ROOT stays as it is then: what was copied or run before
    is done, and the mount points /dev, /proc and /sys and the host's name servers in /etc/resolv.conf may be left
    behind. The build log goes to ./build.log. Needs root.
    """
    from imaginator.cli import local

    if root == Path(root.root):
        raise click.BadParameter("it is the host's own root", param_hint="ROOT")
    with scratch(Path(tempfile.gettempdir())) as state:
        build = _build(context, {**wishes, "state_dir": state, "expires_in": local.BRIEFLY, "max_source_age": 0})
        _conclude(context, wishes, "Root", local.process(build, root))


def _build(context: click.Context, wishes: dict[str, Any]) -> LocalBuild:
    manifest: Path = wishes["manifest"]
    named = context.find_root().get_parameter_source("imaginator_hostname") is not ParameterSource.DEFAULT
    url = wishes["configuration_url"] or (str(CONFIGURATION) if CONFIGURATION.exists() else "")
    return LocalBuild(
        manifest=manifest,
        stream=_checked(wishes["stream"]) if wishes["stream"] else _stream_of(manifest),
        state=wishes["state_dir"],
        variables=wishes["variables"],
        variables_file=wishes["variables_file"],
        expires_in=wishes["expires_in"],
        show_log=wishes["always_show_build_log"] or not os.isatty(2),
        origins=Origins(wishes["max_source_age"], (lambda: connect(context)) if named else None, _located(url)),
    )


def _located(url: str) -> str:
    """A URL, or a path from wherever this command was called."""
    return str(Path(url).absolute()) if url and Path(url).exists() else url


def _stream_of(manifest: Path) -> str:
    try:
        return check_stream_name(manifest.name)
    except InvalidRequest:
        return UNNAMED


def _checked(stream: str) -> str:
    try:
        return check_stream_name(stream)
    except InvalidRequest as error:
        raise click.BadParameter(str(error), param_hint="STREAM") from None


def _conclude(context: click.Context, wishes: dict[str, Any], what: str, outcome: Any) -> None:
    """Print the result, or what failed; exit status 1 then."""
    if wishes["as_json"]:
        show_json({what: outcome.result, "Failure": outcome.failure and msgspec.to_builtins(outcome.failure)})
    elif outcome.failure is None:
        show_result(outcome.result)
    if outcome.failure is not None:
        context.exit(1)
