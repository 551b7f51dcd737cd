"""The commands that disable automatic builds and build requests for a while, and start automatic builds."""

from __future__ import annotations

from datetime import datetime

import click

from imaginator.cli.connecting import connect, duration
from imaginator.cli.output import json_option, note, show_json
from imaginator.model.pauses import Disabled

_METHODS = {
    Disabled.AUTO_BUILDS: "Imaginator.DisableAutoBuilds",
    Disabled.BUILD_REQUESTS: "Imaginator.DisableBuildRequests",
}

_for_option = click.option(
    "--disable-for", type=duration, default="1h", show_default=True, help="How long from now on; 0 enables them."
)


@click.command("disable-auto-builds")
@_for_option
@json_option
@click.pass_context
def disable_auto_builds(context: click.Context, disable_for: float, as_json: bool) -> None:
    """Disable automatic builds for at most four of their intervals; images live on meanwhile."""
    _disable(context, Disabled.AUTO_BUILDS, disable_for, as_json)


@click.command("disable-build-requests")
@_for_option
@json_option
@click.pass_context
def disable_build_requests(context: click.Context, disable_for: float, as_json: bool) -> None:
    """Refuse new requests for builds, for at most a day; queued builds go on."""
    _disable(context, Disabled.BUILD_REQUESTS, disable_for, as_json)


@click.command("enable-auto-builds")
@json_option
@click.pass_context
def enable_auto_builds(context: click.Context, as_json: bool) -> None:
    """Let automatic builds go on."""
    _disable(context, Disabled.AUTO_BUILDS, 0, as_json)


@click.command("enable-build-requests")
@json_option
@click.pass_context
def enable_build_requests(context: click.Context, as_json: bool) -> None:
    """Accept requests for builds again."""
    _disable(context, Disabled.BUILD_REQUESTS, 0, as_json)


@click.command("start-auto-builds")
@click.option("--wait-to-start", is_flag=True, help="Where automatic builds are under way, wait for their end first.")
@click.option("--wait-for-complete", is_flag=True, help="Return when all builds have ended.")
@json_option
@click.pass_context
def start_auto_builds(context: click.Context, wait_to_start: bool, wait_for_complete: bool, as_json: bool) -> None:
    """Bring all images up to date that are rebuilt automatically, now rather than after the interval."""
    with connect(context) as client:
        wishes = {"WaitToStart": wait_to_start, "WaitForComplete": wait_for_complete}
        answer = client.call("Imaginator.StartAutoBuilds", **wishes)
    if as_json:
        show_json(answer)
    else:
        note("automatic builds have ended" if wait_for_complete else "automatic builds have begun")


def _disable(context: click.Context, what: Disabled, seconds: float, as_json: bool) -> None:
    with connect(context) as client:
        answer = client.call(_METHODS[what], DisableFor=seconds)
    if as_json:
        show_json(answer)
    elif answer["DisabledUntil"] is None:
        note(f"{what} are enabled")
    else:
        until = datetime.fromisoformat(answer["DisabledUntil"]).astimezone()
        note(f"{what} are disabled until {until:%Y-%m-%d %H:%M:%S}")
