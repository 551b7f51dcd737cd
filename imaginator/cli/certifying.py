"""The command that makes certificates, for people who have no authority of their own."""

from __future__ import annotations

import socket
from pathlib import Path

import click

from imaginator.cli.output import json_option, show_json, show_result
from imaginator.model.errors import ImaginatorError
from imaginator.rpc.client import ClientError


@click.command("make-certificates")
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path, resolve_path=True))
@click.option("--user", required=True, metavar="NAME", help="Who the certificate is for.")
@click.option("--group", "groups", multiple=True, metavar="NAME", help="A group that the user is in; may be repeated.")
@click.option(
    "--method",
    "methods",
    multiple=True,
    metavar="PATTERN",
    help='What the user may call, such as "Imaginator.*"; may be repeated. Else what streams and owners allow.',
)
@click.option("--hostname", default=socket.getfqdn, metavar="NAME", help="The daemon's host; else this one's name.")
@json_option
def make_certificates(
    folder: Path, user: str, groups: tuple[str, ...], methods: tuple[str, ...], hostname: str, as_json: bool
) -> None:
    """Make a certificate and a key for a user in DIR, and where they are missing an authority and the daemon's.

    Prints the files that it has made, and overwrites none. In /etc/ssl the daemon's lie where it looks for them. The
    user's go to ~/.ssl on the user's host, with CA.pem; CA.key stays where nobody else can read it.
    """
    from imaginator.rpc.authority import Authority
    from imaginator.rpc.certificates import Wish

    try:
        authority = Authority(folder, hostname)
        authority.certify(Wish(user, groups, methods))
    except ImaginatorError as error:
        raise ClientError(str(error)) from None
    if as_json:
        show_json([str(path) for path in authority.made])
    else:
        show_result("\n".join(map(str, authority.made)))
