"""``builder-tool``: asks an imaginator for images. Exit status 1 tells of an error, 2 of wrong usage."""

from __future__ import annotations

import contextlib
import http.client
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

from imaginator import __version__
from imaginator.cli.commands import COMMANDS, Commands
from imaginator.cli.connecting import identify
from imaginator.cli.flags import DIRECTORIES, Spelling, Warn, modernise, read_flags
from imaginator.cli.output import note
from imaginator.rpc.client import ClientError, RpcError

PROGRAM = "builder-tool"

COMPLETING = "_BUILDER_TOOL_COMPLETE"
"""The variable with which a shell asks what could come next."""


class FilePath(click.Path):
    """A path of a file."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False, path_type=Path)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--imaginator-hostname", default="localhost", show_default=True, help="Where the daemon runs.")
@click.option("--imaginator-port", type=click.IntRange(1, 65535), default=6975, show_default=True)
@click.option(
    "--cert-file", type=FilePath(), help="Your certificate; else cert.pem or the first *.cert with a *.key in ~/.ssl."
)
@click.option("--key-file", type=FilePath(), help="Its key; else the one beside it.")
@click.option(
    "--ca-file",
    type=FilePath(),
    help="The authority of the daemon's certificate; else ~/.ssl/CA.pem, /etc/ssl/CA.pem, or the system's.",
)
@click.version_option(__version__, prog_name=PROGRAM)
@click.pass_context
def builder_tool(context: click.Context, /, **_options: Any) -> None:
    """Ask an imaginator for operating-system images."""
    identify(context.params)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the tool with ``arguments`` (those of the process by default), and exit."""
    if COMPLETING in os.environ:
        _complete()
    try:
        _run(sys.argv[1:] if arguments is None else arguments, note)
    except RpcError as error:
        _fail(f"{error}{who_may(error)}")
    except ClientError as error:
        _fail(str(error))
    except (http.client.HTTPException, ConnectionError):
        _fail("the daemon's answer broke off before its end")
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))


def _run(arguments: Sequence[str], warn: Warn) -> None:
    spelling = Spelling(builder_tool)
    values = read_flags(DIRECTORIES, spelling, warn)
    defaults = {**values, **dict.fromkeys(COMMANDS, values)}
    builder_tool.main(modernise(arguments, spelling, warn), PROGRAM, default_map=defaults)


def _complete() -> NoReturn:
    """Answer a shell, and exit: whoever pressed a key there is told of no error, whatever it is."""
    from imaginator.cli import completing  # has what bash is asked with

    completing.register()
    with contextlib.suppress(Exception):
        _run([], lambda _: None)
    sys.exit()


def who_may(error: RpcError) -> str:
    """Of a call that was not permitted: for whom it is, and who can change that; else empty."""
    if "Permission" not in error.data:
        return ""
    permit = f"a certificate that permits {error.data['Permission']}"
    return (
        f"\nIt is for {error.data['For']}. Full access has {permit}, and whom the daemon trusts (--trusted-users,"
        " --trusted-groups): ask whoever runs it."
    )


def _fail(sentence: str) -> None:
    note(f"Error: {sentence}")
    sys.exit(1)
