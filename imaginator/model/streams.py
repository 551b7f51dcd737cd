"""The streams configuration: which image streams there are, and where their manifests lie."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from imaginator.model.codec import JsonFile
from imaginator.model.errors import ConfigurationError
from imaginator.model.filters import compile_line
from imaginator.model.limits import StreamLimits
from imaginator.model.names import check_stream_name
from imaginator.model.patterns import Patterns
from imaginator.model.problems import Warn, untold
from imaginator.model.renewal import Renewal
from imaginator.model.variables import expand


class Stream(Renewal, frozen=True, kw_only=True, rename="pascal"):
    """One image stream. ``manifest_url`` is a Git URL or ``dir:///path``; both manifest fields may hold variables."""

    manifest_url: str
    manifest_directory: str = ""
    builder_users: tuple[str, ...] = ()
    builder_groups: tuple[str, ...] = ()
    variables: dict[str, str] = {}
    network: bool = True
    limits: StreamLimits = StreamLimits()


class StreamsFile(msgspec.Struct, frozen=True, rename="pascal"):
    """The file as it is written."""

    streams: dict[str, Stream] | None = None
    stream_patterns: dict[str, Stream] | None = None


class Streams:
    """The streams in force: those that are named, and patterns for those that exist once somebody names them."""

    def __init__(self, named: dict[str, Stream], patterns: dict[str, Stream], where: str = "streams") -> None:
        self.named = named
        self.patterns = patterns
        self._where = where
        self._compiled = Patterns(patterns, where)

    def find(self, name: str) -> Stream | None:
        """The definition of a stream; raises `ConfigurationError` naming both where two patterns match it."""
        if name in self.named:
            return self.named[name]
        matching = self._compiled.matching(name)
        if len(matching) > 1:
            raise ConfigurationError(
                self._where, f"stream {name} matches two patterns: {matching[0]} and {matching[1]}"
            )
        return self.patterns[matching[0]] if matching else None


def decode_streams(data: bytes, where: str, arch: str, warn: Warn = untold) -> Streams:
    """The streams of a file called ``where``, ``$ARCH`` expanded in their names.

    Raises `ConfigurationError` with everything that is wrong.
    """
    file = JsonFile(data, where, warn)
    decoded = file.decode(StreamsFile)
    if decoded is not None:
        _check(file, decoded, arch)
    file.finish()
    assert decoded is not None
    variables = {"ARCH": arch}
    named = {expand(name, variables): stream for name, stream in (decoded.streams or {}).items()}
    patterns = {_pattern(text, arch): stream for text, stream in (decoded.stream_patterns or {}).items()}
    return Streams(named, patterns, where)


def _check(file: JsonFile, decoded: StreamsFile, arch: str) -> None:
    # An absent table and one that is wrong look alike here, but the latter has been told of.
    if not {name.lower() for name in file.value} & {"streams", "streampatterns"}:
        file.wrong((), "neither Streams nor StreamPatterns: expected a table of streams")
    for name in decoded.streams or {}:
        file.check(("Streams", name), check_stream_name, expand(name, {"ARCH": arch}), of_key=True)
    for text in decoded.stream_patterns or {}:
        file.check(("StreamPatterns", text), compile_line, _pattern(text, arch), "", of_key=True)
    _check_twins(file, "Streams", {name: expand(name, {"ARCH": arch}) for name in decoded.streams or {}})
    _check_twins(file, "StreamPatterns", {text: _pattern(text, arch) for text in decoded.stream_patterns or {}})


def _check_twins(file: JsonFile, table: str, meant: Mapping[str, str]) -> None:
    """Of two names that mean the same on this machine, one would vanish without a word."""
    first: dict[str, str] = {}
    for name, meaning in meant.items():
        if first.setdefault(meaning, name) != name:
            file.wrong((table, name), f"means the same as {first[meaning]!r}: expected one of them", of_key=True)


def _pattern(text: str, arch: str) -> str:
    """A pattern with the only variable that it may have: the anchor of an expression is none."""
    return re.sub(r"\$(ARCH\b|\{ARCH\})", arch, text)
