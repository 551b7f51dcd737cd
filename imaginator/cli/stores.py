"""Where images are: at the daemon, or in a local store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from imaginator.cli.connecting import connect
from imaginator.rpc.client import Client

if TYPE_CHECKING:
    from imaginator.cli.stored import LocalStore

store_option = click.option(
    "--state-dir",
    type=click.Path(file_okay=False, path_type=Path, resolve_path=True),
    help="The local store of builds without a daemon, to use in place of the daemon's.",
)


def connect_store(context: click.Context) -> Client | LocalStore:
    """A client of the daemon, or the local store that the command line names.

    A store that flags files name is for builds: it would take the daemon's place unseen.
    """
    if context.get_parameter_source("state_dir") is not ParameterSource.COMMANDLINE:
        return connect(context)
    from imaginator.cli.stored import LocalStore

    return LocalStore(context.params["state_dir"])


def image_name(client: Client | LocalStore, name: str) -> str:
    """``name``, or the latest image's where ``name`` has no date stamp and hence is a stream."""
    if ":" in name.rpartition("/")[2]:
        return name
    latest: str = client.call("ImageServer.FindLatestImage", StreamName=name)["ImageName"]
    return latest
