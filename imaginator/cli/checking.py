"""The commands that check what people write, without a daemon and without root: manifests and configurations."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import click

from imaginator.build.manifests import load_manifest
from imaginator.cli.output import json_option, note, show_json, show_result
from imaginator.model.architectures import architecture
from imaginator.model.codec import JsonFile
from imaginator.model.errors import ConfigurationError
from imaginator.model.problems import Problem, Warn
from imaginator.model.settings import Settings, decode_settings
from imaginator.model.streams import Streams, decode_streams
from imaginator.model.variables import parse_variables_file

MAIN, STREAMS, VARIABLES, ANY = "main", "streams", "variables", "any"


class Findings(NamedTuple):
    """What is wrong with some files, and what is doubtful."""

    wrong: list[Problem]
    doubtful: list[Problem]

    def gather(self, work: Callable[[Warn], Any]) -> Any:
        """What ``work``, given a function to warn by, makes of a file; None where something is wrong with it."""
        try:
            return work(self.doubtful.append)
        except ConfigurationError as error:
            self.wrong.extend(error.problems)
        return None


@click.command("check-manifest")
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@json_option
@click.pass_context
def check_manifest(context: click.Context, directory: Path, as_json: bool) -> None:
    """Check the image manifest in DIRECTORY, and say everything that is wrong with it.

    Exit status 1 tells that a build would fail; warnings alone do not.
    """
    findings = Findings([], [])
    findings.gather(lambda warn: load_manifest(directory, os.path.normpath(directory), warn))
    _conclude(context, findings, as_json)


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
    findings = Findings([], [])
    for file in files:
        findings.gather(partial(_check_file, file, kind, arch, findings))
    _conclude(context, findings, as_json)


def _check_file(path: Path, kind: str, arch: str, findings: Findings, _warn: Warn) -> None:
    data, where = _read(path), str(path)
    kind = _kind_of(data, where) if kind == ANY else kind
    if kind == VARIABLES:
        findings.gather(lambda warn: parse_variables_file(data, where))
    elif kind == STREAMS:
        findings.gather(lambda warn: decode_streams(data, where, arch, warn))
    else:
        settings = findings.gather(lambda warn: decode_settings(data, where, arch, warn))
        if settings is not None:
            _follow(settings, where, arch, findings)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(str(path), f"cannot be read: {error.strerror}") from None


def _kind_of(data: bytes, where: str) -> str:
    """A streams configuration has one of its two tables; everything else is taken for a main one."""
    value = JsonFile(data, where).value
    names = {name.lower() for name in value} if isinstance(value, dict) else set()
    return STREAMS if names & {"streams", "streampatterns"} else MAIN


def _follow(settings: Settings, where: str, arch: str, findings: Findings) -> None:
    """Check the local streams configuration that a main one names, and whether both agree."""
    url = settings.image_streams_url
    path = Path(url.removeprefix("file://"))
    if not path.is_absolute() or not path.exists():
        return
    streams = findings.gather(lambda warn: decode_streams(_read(path), str(path), arch, warn))
    if streams is not None:
        findings.doubtful.extend(_disagreements(settings, streams, where))


def _disagreements(settings: Settings, streams: Streams, where: str) -> Iterator[Problem]:
    for at, name in enumerate(settings.image_streams_to_auto_rebuild):
        if name not in settings.bootstrap_streams and streams.find(name) is None:
            yield Problem(where, f"no stream is called {name}", field=f"$.ImageStreamsToAutoRebuild[{at}]")
    for name in sorted(settings.bootstrap_streams.keys() & streams.named):
        yield Problem(where, f"{name} is an image stream, too: this one counts", field="$.BootstrapStreams")


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
