"""The commands that show and fetch images."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import click

from imaginator.cli import suggesting
from imaginator.cli.moments import parsed, shown
from imaginator.cli.output import json_option, note, show_json, show_result, show_table
from imaginator.cli.stores import connect_store, image_name, store_option
from imaginator.model.durations import format_duration, format_size


@click.command("list-images")
@click.argument("prefix", default="", shell_complete=suggesting.stream)
@store_option
@json_option
@click.pass_context
def list_images(context: click.Context, /, prefix: str, as_json: bool, **_: Any) -> None:
    """List images: all, or those of the stream PREFIX, or of the streams below it."""
    with connect_store(context) as client:
        images = client.call("ImageServer.ListImages", Prefix=prefix)["Images"]
    if as_json:
        show_json(images)
        return
    rows = ((image["Name"], *_in_short(image)) for image in images)
    show_table(("IMAGE", "FILES", "SIZE", "EXPIRES"), rows)


@click.command("show-image")
@click.argument("name", metavar="IMAGE", shell_complete=suggesting.image_or_stream)
@store_option
@json_option
@click.pass_context
def show_image(context: click.Context, /, name: str, as_json: bool, **_: Any) -> None:
    """Show what is known of IMAGE, or of the latest image where IMAGE is a stream."""
    with connect_store(context) as client:
        image = client.call("ImageServer.GetImage", ImageName=image_name(client, name))
    if as_json:
        show_json(image)
        return
    files, size, expires = _in_short(image)
    origin = image["Origin"]
    facts = {
        "Image": image["Name"],
        "Created": shown(image["CreatedAt"]),
        "Expires": expires,
        "Created for": origin["CreatedFor"],
        "Source image": origin["SourceImage"],
        "Git URL": origin["GitUrl"],
        "Git branch": origin["GitBranch"],
        "Git commit": origin["GitCommitId"],
        "Build": origin["BuildId"],
        "Files": files,
        "Size": size,
        "Packages": str(len(image["Packages"])),
        **{f"Tag {name}": value for name, value in image["Tags"].items()},
    }
    for label, value in facts.items():
        if value:
            show_result(f"{label}: {value}")


@click.command("get-image")
@click.argument("name", metavar="IMAGE", shell_complete=suggesting.image_or_stream)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE.tar|FILE.tar.zst|DIR",
    help="An archive to write, compressed or not, or a directory to unpack into, which must be missing or empty.",
)
@store_option
@json_option
@click.pass_context
def get_image(context: click.Context, /, name: str, output: Path, as_json: bool, **_: Any) -> None:
    """Fetch IMAGE, or the latest image where IMAGE is a stream, as an archive or unpacked."""
    from imaginator.cli.fetching import save, unpack

    compressed = output.name.endswith(".tar.zst")
    take = save if (compressed or output.suffix == ".tar") and not output.is_dir() else unpack
    how = "&compress=zstd" if compressed and take is save else ""
    with connect_store(context) as client:
        image = image_name(client, name)
        with client.stream(f"/getImage?{image}{how}") as archive:
            take(archive, output)
    if as_json:
        show_json({"ImageName": image, "Output": str(output)})
    else:
        note(f"{image}: {output}")


def _in_short(image: dict[str, Any]) -> tuple[str, str, str]:
    """An image's number of files, size, and when it expires."""
    figures = image["Figures"]
    return str(figures["Files"]), format_size(figures["Bytes"]), _expiry(image["ExpiresAt"])


def _expiry(expires_at: str | None) -> str:
    if expires_at is None:
        return "never"
    left = (parsed(expires_at) - datetime.now().astimezone()).total_seconds()
    return f"in {format_duration(left)}" if left > 0 else "expired"
