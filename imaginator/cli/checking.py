"""The commands that check what people write, without a daemon and without root: manifests and configurations."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from imaginator.cli.output import json_option, note, show_json, show_result
from imaginator.model.architectures import architecture

if TYPE_CHECKING:
    from imaginator.cli.findings import Findings
    from imaginator.model.problems import Problem

MAIN, STREAMS, VARIABLES, ANY = "main", "streams", "variables", "any"


@click.command("check-manifest")
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@json_option
@click.pass_context
def check_manifest(context: click.Context, directory: Path, as_json: bool) -> None:
    """Check the image manifest in DIRECTORY, and say everything that is wrong with it.

    Exit status 1 tells that a build would fail; warnings alone do not.
    """
    # The tool starts often, and seldom for this.
    from imaginator.cli.findings import manifest_findings

    _conclude(context, manifest_findings(directory), as_json)


@click.command("check-config")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--kind",
    type=click.Choice([ANY, MAIN, STREAMS, VARIABLES]),
    default=ANY,
    show_default=True,
    help="Which configuration a FILE is; any: told from its fields.",
)
@click.option("--arch", default=architecture(platform.machine()), show_default=True, help="What $ARCH means in names.")
@json_option
@click.pass_context
def check_config(context: click.Context, files: tuple[Path, ...], kind: str, arch: str, as_json: bool) -> None:
    """Check configurations, main or of streams, and say everything that is wrong with them.

    The streams configuration that a main one names is checked, too, where it is a local file. Exit status 1 tells that
    the daemon would refuse a FILE; warnings alone do not.
    """
    from imaginator.cli.findings import configuration_findings

    _conclude(context, configuration_findings(files, kind, arch), as_json)


def _conclude(context: click.Context, findings: Findings, as_json: bool) -> None:
    if as_json:
        show_json([*_plain("error", findings.wrong), *_plain("warning", findings.doubtful)])
    for severity, problems in (("error", findings.wrong), ("warning", findings.doubtful)):
        for problem in problems if not as_json else ():
            show_result(_line(severity, problem))
    note(f"{_count(len(findings.wrong), 'error')}, {_count(len(findings.doubtful), 'warning')}")
    context.exit(1 if findings.wrong else 0)


def _line(severity: str, problem: Problem) -> str:
    """``FILE:LINE:COLUMN: error: …``, which editors and CI systems understand."""
    place = ":".join(str(part) for part in (problem.where, problem.line, problem.column) if part)
    return f"{place}: {severity}: " + ": ".join(part for part in (problem.field, problem.words) if part)


def _plain(severity: str, problems: list[Problem]) -> Iterator[dict[str, object]]:
    for problem in problems:
        yield {"Severity": severity, **problem.plain()}


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
