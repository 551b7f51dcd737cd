"""What commands that talk to the daemon have in common."""

from __future__ import annotations

import click

from imaginator.model.durations import parse_duration
from imaginator.rpc.client import Client, Credentials


def duration(text: str) -> float:
    """The seconds of an option such as ``90s``, ``15m``, ``1h30m`` or ``30d``; a usage error where it is none."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def connect(context: click.Context) -> Client:
    """A client for the address and files that the group's options name."""
    options = context.find_root().params
    files = Credentials(options["cert_file"], options["key_file"], options["ca_file"])
    return Client(options["imaginator_hostname"], options["imaginator_port"], files)


def image_name(client: Client, name: str) -> str:
    """``name``, or the latest image's where ``name`` has no date stamp and hence is a stream."""
    if ":" in name.rpartition("/")[2]:
        return name
    latest: str = client.call("ImageServer.FindLatestImage", StreamName=name)["ImageName"]
    return latest
