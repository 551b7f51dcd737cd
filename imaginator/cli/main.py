"""``builder-tool``: asks an imaginator for images. Exit status 1 tells of an error, 2 of wrong usage."""

from __future__ import annotations

import http.client
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from imaginator import __version__
from imaginator.cli.commands import COMMANDS
from imaginator.cli.flags import DIRECTORIES, Spelling, modernise, read_flags
from imaginator.cli.output import note
from imaginator.rpc.client import ClientError

PROGRAM = "builder-tool"

_SYSTEM_AUTHORITY = Path("/etc/ssl/CA.pem")


class FilePath(click.Path):
    """A path of a file."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False, path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
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
    options = context.params
    folder = Path("~/.ssl").expanduser()
    if options["cert_file"] is None:
        options["cert_file"], found_key = find_certificate(folder)
        options["key_file"] = options["key_file"] or found_key
    options["ca_file"] = options["ca_file"] or _first(folder / "CA.pem", _SYSTEM_AUTHORITY)


for _command in COMMANDS:
    builder_tool.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the tool with ``arguments`` (those of the process by default), and exit."""
    spelling = Spelling.of(builder_tool)
    given = sys.argv[1:] if arguments is None else arguments
    try:
        values = read_flags(DIRECTORIES, spelling, note)
        defaults = {**values, **dict.fromkeys(builder_tool.commands, values)}
        builder_tool.main(modernise(given, spelling, note), PROGRAM, default_map=defaults)
    except ClientError as error:
        _fail(str(error))
    except (http.client.HTTPException, ConnectionError):
        _fail("the daemon's answer broke off before its end")
    except tarfile.TarError as error:
        _fail(f"the image's archive is damaged: {error}")
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))


def find_certificate(folder: Path) -> tuple[Path | None, Path | None]:
    """The certificate and key to show: cert.pem with key.pem, else the first pair NAME.cert, NAME.key; or none."""
    pairs = [(folder / "cert.pem", folder / "key.pem")]
    pairs += [(path, path.with_suffix(".key")) for path in sorted(folder.glob("*.cert"))]
    return next(((cert, key) for cert, key in pairs if cert.exists() and key.exists()), (None, None))


def _first(*paths: Path) -> Path | None:
    return next((path for path in paths if path.exists()), None)


def _fail(sentence: str) -> None:
    note(f"Error: {sentence}")
    sys.exit(1)
