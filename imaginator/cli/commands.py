"""The commands of builder-tool."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from imaginator.cli.checking import check_config, check_manifest
from imaginator.cli.connecting import connect, duration, image_name
from imaginator.cli.conversing import converse
from imaginator.cli.expiry import change_image_expiration, delete_image
from imaginator.cli.fetching import save, unpack
from imaginator.cli.following import Follower, Record
from imaginator.cli.graphs import get_dependencies, get_digraph
from imaginator.cli.output import Progress, json_option, note, show_json, show_result, show_table, show_text
from imaginator.cli.pausing import (
    disable_auto_builds,
    disable_build_requests,
    enable_build_requests,
    start_auto_builds,
)
from imaginator.model.build import State
from imaginator.model.durations import format_duration, format_size
from imaginator.rpc.client import Client


def _variables(_context: click.Context, _option: click.Parameter, values: Sequence[str]) -> dict[str, str]:
    pairs = [value.partition("=") for value in values]
    for name, equals, value in pairs:
        if not name or not equals:
            raise click.BadParameter(f"{name + equals + value!r}: expected NAME=VALUE")
    return {name: value for name, _, value in pairs}


@click.command("build-image")
@click.argument("stream")
@click.argument("branch", default="")
@click.option("--expires-in", type=duration, default="1h", show_default=True, help="How long the image is kept.")
@click.option(
    "--max-source-age",
    type=duration,
    default="1h",
    show_default=True,
    help="An older source image is built first.",
)
@click.option(
    "--maximum-build-duration", type=duration, default="0", help="How long the build may take; 0: the daemon's limit."
)
@click.option(
    "--variable", "variables", multiple=True, metavar="NAME=VALUE", callback=_variables, help="Set for the build."
)
@click.option(
    "--keep-failed", type=duration, default="0", help="How long the tree is kept for builder-tool shell if it fails."
)
@click.option("--disable-recursive-build", is_flag=True, help="Fail rather than build a missing source image.")
@click.option("--fail-if-busy", is_flag=True, help="Fail rather than wait for other builds.")
@click.option("--always-show-build-log", is_flag=True, help="Show the build log as it grows, not only on failure.")
@json_option
@click.pass_context
def build_image(context: click.Context, /, always_show_build_log: bool, as_json: bool, **wishes: Any) -> None:
    """Build an image of STREAM, from BRANCH of its repository where one is given, and print the image's name."""
    progress = Progress()
    with connect(context) as client:
        submitted = client.call("Imaginator.SubmitBuild", **_build_request(wishes))
        follower = Follower(client, progress, always_show_build_log)
        record = _see_to_its_end(client, follower, progress, submitted["BuildId"])
    if as_json:
        show_json(record)
    elif record["State"] == State.SUCCEEDED:
        show_result(record["ImageName"])
    if record["State"] != State.SUCCEEDED:
        _show_failure(record, "" if always_show_build_log else follower.tail)
        context.exit(1)


def _build_request(wishes: dict[str, Any]) -> dict[str, Any]:
    return {
        "StreamName": wishes["stream"],
        "GitBranch": wishes["branch"],
        "ExpiresIn": wishes["expires_in"],
        "MaxSourceAge": wishes["max_source_age"],
        "MaximumBuildDuration": wishes["maximum_build_duration"],
        "Variables": wishes["variables"],
        "DisableRecursiveBuild": wishes["disable_recursive_build"],
        "FailIfBusy": wishes["fail_if_busy"],
        "KeepFailed": wishes["keep_failed"],
    }


def _see_to_its_end(client: Client, follower: Follower, progress: Progress, build_id: str) -> Record:
    """Follow a build; Ctrl-C asks whether to cancel it, and at the question leaves it alone."""
    while True:
        try:
            return follower.follow(build_id)
        except KeyboardInterrupt:
            progress.end()
            if not sys.stdin.isatty():
                raise click.ClickException(_goes_on(build_id)) from None
        try:
            if click.confirm("\nCancel the build?", err=True):
                client.call("Imaginator.CancelBuild", BuildId=build_id)
        except click.Abort:
            raise click.ClickException(_goes_on(build_id)) from None


def _goes_on(build_id: str) -> str:
    return f"the build goes on; end it with: builder-tool cancel-build {build_id}"


def _show_failure(record: Record, log_tail: str) -> None:
    show_text(log_tail)
    failure = record["Failure"] or {"Message": record["State"]}
    show_text(f"Error: build {record['BuildId']}: {failure['Message']}\n")


@click.command("list-builds")
@click.option("--stream", "stream_name", default="", help="Only builds of this stream, or of those below it.")
@click.option("--state", type=click.Choice([state.value for state in State]), help="Only builds in this state.")
@click.option("--requester", default="", help="Only builds that this user asked for.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True)
@json_option
@click.pass_context
def list_builds(context: click.Context, /, as_json: bool, **wanted: Any) -> None:
    """List builds, latest first."""
    names = {"stream_name": "StreamName", "state": "State", "requester": "Requester", "limit": "Limit"}
    with connect(context) as client:
        parameters = {names[name]: value for name, value in wanted.items()}
        builds = client.call("Imaginator.ListBuilds", **parameters)["Builds"]
    if as_json:
        show_json(builds)
    else:
        show_table(("BUILD", "STATE", "STREAM", "REQUESTER", "SUBMITTED", "RESULT"), map(_build_row, builds))


def _build_row(record: Record) -> tuple[str, ...]:
    failure = record["Failure"] or {"Message": ""}
    return (
        record["BuildId"],
        record["Stage"] or record["State"],
        record["Request"]["StreamName"],
        record["Requester"],
        _time(record["SubmittedAt"]),
        record["ImageName"] or failure["Message"].partition("\n")[0],
    )


@click.command("cancel-build")
@click.argument("build_id", metavar="BUILD")
@json_option
@click.pass_context
def cancel_build(context: click.Context, build_id: str, as_json: bool) -> None:
    """Cancel the build with the id BUILD."""
    with connect(context) as client:
        record = client.call("Imaginator.CancelBuild", BuildId=build_id)
    if as_json:
        show_json(record)
    else:
        note(f"build {build_id}: {record['State']}")


@click.command("list-images")
@click.argument("prefix", default="")
@json_option
@click.pass_context
def list_images(context: click.Context, prefix: str, as_json: bool) -> None:
    """List images: all, or those of the stream PREFIX, or of the streams below it."""
    with connect(context) as client:
        images = client.call("ImageServer.ListImages", Prefix=prefix)["Images"]
    if as_json:
        show_json(images)
        return
    rows = ((image["Name"], *_in_short(image)) for image in images)
    show_table(("IMAGE", "FILES", "SIZE", "EXPIRES"), rows)


@click.command("show-image")
@click.argument("name", metavar="IMAGE")
@json_option
@click.pass_context
def show_image(context: click.Context, name: str, as_json: bool) -> None:
    """Show what is known of IMAGE, or of the latest image where IMAGE is a stream."""
    with connect(context) as client:
        image = client.call("ImageServer.GetImage", ImageName=image_name(client, name))
    if as_json:
        show_json(image)
        return
    files, size, expires = _in_short(image)
    origin = image["Origin"]
    facts = {
        "Image": image["Name"],
        "Created": _time(image["CreatedAt"]),
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
@click.argument("name", metavar="IMAGE")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE.tar|DIR",
    help="An archive to write, or a directory to unpack into, which must be missing or empty.",
)
@click.pass_context
def get_image(context: click.Context, name: str, output: Path) -> None:
    """Fetch IMAGE, or the latest image where IMAGE is a stream, as an archive or unpacked."""
    take = save if output.suffix == ".tar" and not output.is_dir() else unpack
    with connect(context) as client:
        image = image_name(client, name)
        with client.stream(f"/getImage?{image}") as archive:
            take(archive, output)
    note(f"{image}: {output}")


def _in_short(image: dict[str, Any]) -> tuple[str, str, str]:
    """An image's number of files, size, and when it expires."""
    figures = image["Figures"]
    return str(figures["Files"]), format_size(figures["Bytes"]), _expiry(image["ExpiresAt"])


def _expiry(expires_at: str | None) -> str:
    if expires_at is None:
        return "never"
    left = (_parsed(expires_at) - datetime.now().astimezone()).total_seconds()
    return f"in {format_duration(left)}" if left > 0 else "expired"


def _time(text: str) -> str:
    return _parsed(text).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _parsed(text: str) -> datetime:
    return datetime.fromisoformat(text)


@click.command("shell", context_settings={"ignore_unknown_options": True})
@click.argument("build_id", metavar="BUILD")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def shell(context: click.Context, build_id: str, command: tuple[str, ...]) -> None:
    """Open a shell, or run COMMAND, in the tree of the failed build with the id BUILD, where that is kept.

    On a terminal the shell has one too. Else it reads standard input and writes both its outputs to standard output.
    """
    with connect(context) as speaking, connect(context) as listening:
        context.exit(converse(speaking, listening, build_id, command))


COMMANDS = (
    build_image, list_builds, cancel_build, shell, disable_auto_builds, disable_build_requests, enable_build_requests,
    start_auto_builds, list_images, show_image, get_image, change_image_expiration, delete_image, get_dependencies,
    get_digraph, check_manifest, check_config,
)  # fmt: skip
