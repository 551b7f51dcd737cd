"""What is wrong with manifests and configurations, as the daemon's own readers find it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from imaginator.build.manifests import load_manifest
from imaginator.cli.checking import ANY, MAIN, STREAMS, VARIABLES
from imaginator.model.codec import JsonFile
from imaginator.model.errors import ConfigurationError
from imaginator.model.problems import Problem, Warn
from imaginator.model.settings import Settings, decode_settings
from imaginator.model.streams import Streams, decode_streams
from imaginator.model.variables import parse_variables_file


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


def manifest_findings(directory: Path) -> Findings:
    """What the image manifest in a directory has."""
    findings = Findings([], [])
    findings.gather(lambda warn: load_manifest(directory, os.path.normpath(directory), warn))
    return findings


def configuration_findings(files: Iterable[Path], kind: str, arch: str) -> Findings:
    """What configurations have, of a kind each, or of that which their fields tell (`ANY`)."""
    findings = Findings([], [])
    for file in files:
        findings.gather(partial(_check_file, file, kind, arch, findings))
    return findings


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
