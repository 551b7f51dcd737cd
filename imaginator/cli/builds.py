"""The commands about builds by a daemon."""

from __future__ import annotations

import sys
from typing import Any

import click

from imaginator.cli import suggesting
from imaginator.cli.connecting import connect, duration, variables
from imaginator.cli.conversing import converse
from imaginator.cli.following import Follower, Record
from imaginator.cli.moments import shown
from imaginator.cli.output import Progress, json_option, note, show_json, show_result, show_table, show_text
from imaginator.model.build import State
from imaginator.rpc.client import Client


@click.command("build-image")
@click.argument("stream", shell_complete=suggesting.stream)
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
    "--variable", "variables", multiple=True, metavar="NAME=VALUE", callback=variables, help="Set for the build."
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
@click.option(
    "--stream",
    "stream_name",
    default="",
    shell_complete=suggesting.stream,
    help="Only builds of this stream, or of those below it.",
)
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
        shown(record["SubmittedAt"]),
        record["ImageName"] or failure["Message"].partition("\n")[0],
    )


@click.command("cancel-build")
@click.argument("build_id", metavar="BUILD", shell_complete=suggesting.running_build)
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


@click.command("shell", context_settings={"ignore_unknown_options": True})
@click.argument("build_id", metavar="BUILD", shell_complete=suggesting.failed_build)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def shell(context: click.Context, build_id: str, command: tuple[str, ...]) -> None:
    """Open a shell, or run COMMAND, in the tree of the failed build with the id BUILD, where that is kept.

    On a terminal the shell has one too. Else it reads standard input and writes both its outputs to standard output.
    """
    with connect(context) as speaking, connect(context) as listening:
        context.exit(converse(speaking, listening, build_id, command))
