"""What commands that talk to the daemon have in common."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from imaginator.model.durations import parse_duration
from imaginator.rpc.client import Client, Credentials

_SYSTEM_AUTHORITY = Path("/etc/ssl/CA.pem")


def duration(text: str) -> float:
    """The seconds of an option such as ``90s``, ``15m``, ``1h30m`` or ``30d``; a usage error where it is none."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def variables(_context: click.Context, _option: click.Parameter, values: Sequence[str]) -> dict[str, str]:
    """Pairs of an option NAME=VALUE; a usage error where one is none."""
    pairs = [value.partition("=") for value in values]
    for name, equals, value in pairs:
        if not name or not equals:
            raise click.BadParameter(f"{name + equals + value!r}: expected NAME=VALUE")
    return {name: value for name, _, value in pairs}


def identify(options: dict[str, Any]) -> None:
    """Fill in the files that the group's options leave open, where they are at their places."""
    folder = Path("~/.ssl").expanduser()
    if options["cert_file"] is None:
        options["cert_file"], found_key = find_certificate(folder)
        options["key_file"] = options["key_file"] or found_key
    options["ca_file"] = options["ca_file"] or _first(folder / "CA.pem", _SYSTEM_AUTHORITY)


def find_certificate(folder: Path) -> tuple[Path | None, Path | None]:
    """The certificate and key to show: cert.pem with key.pem, else the first pair NAME.cert, NAME.key; or none."""
    pairs = [(folder / "cert.pem", folder / "key.pem")]
    pairs += [(path, path.with_suffix(".key")) for path in sorted(folder.glob("*.cert"))]
    return next(((cert, key) for cert, key in pairs if cert.exists() and key.exists()), (None, None))


def _first(*paths: Path) -> Path | None:
    return next((path for path in paths if path.exists()), None)


def connect(context: click.Context) -> Client:
    """A client for the address and files that the group's options name."""
    options = context.find_root().params
    files = Credentials(options["cert_file"], options["key_file"], options["ca_file"])
    return Client(options["imaginator_hostname"], options["imaginator_port"], files)
