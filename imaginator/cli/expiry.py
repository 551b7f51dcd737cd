"""The commands that decide how long images live."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import click

from imaginator.cli import suggesting
from imaginator.cli.output import json_option, note, show_json
from imaginator.cli.stores import connect_store, image_name, store_option
from imaginator.model.durations import parse_duration

NEVER = "never"


def expiration(text: str) -> datetime | None:
    """The time that a duration from now, or a time, means; None for never. A usage error where it is none of these."""
    now = datetime.now().astimezone()
    if text == NEVER:
        return None
    try:
        return now + timedelta(seconds=parse_duration(text))
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError:
        expected = f"expected {NEVER}, a duration such as 12h or 30d, or a time such as 2026-12-24T18:00:00Z"
        raise click.BadParameter(f"{text!r}: {expected}") from None


@click.command("change-image-expiration")
@click.argument("name", metavar="IMAGE", shell_complete=suggesting.image_or_stream)
@click.argument("when", type=expiration, metavar="DURATION|TIME|never")
@store_option
@json_option
@click.pass_context
def change_image_expiration(
    context: click.Context, /, name: str, when: datetime | None, as_json: bool, **_: Any
) -> None:
    """Let IMAGE, or the latest image where IMAGE is a stream, expire after a duration, at a time, or never."""
    wish: dict[str, Any] = {"ExpiresAt": when.isoformat()} if when else {"Pinned": True}
    with connect_store(context) as client:
        answer = client.call("ImageServer.ChangeImageExpiration", ImageName=image_name(client, name), **wish)
    if as_json:
        show_json(answer)
    else:
        note(f"{answer['ImageName']} expires {when.isoformat(' ', 'seconds') if when else NEVER}")


@click.command("delete-image")
@click.argument("name", metavar="IMAGE", shell_complete=suggesting.image)
@store_option
@json_option
@click.pass_context
def delete_image(context: click.Context, /, name: str, as_json: bool, **_: Any) -> None:
    """Delete IMAGE. Builds that stand on it go on."""
    with connect_store(context) as client:
        answer = client.call("ImageServer.DeleteImage", ImageName=name)
    if as_json:
        show_json(answer)
    else:
        note(f"{name} was deleted")
