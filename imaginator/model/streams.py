"""The streams configuration: which image streams there are, and where their manifests lie."""

from __future__ import annotations

import re

import msgspec
import re2

from imaginator.model.codec import Warn, decode_json
from imaginator.model.errors import ConfigurationError, InvalidRequest
from imaginator.model.limits import StreamLimits
from imaginator.model.names import check_stream_name
from imaginator.model.variables import expand


class Stream(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
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
        self._compiled = {text: _compile(text, where) for text in patterns}

    def find(self, name: str) -> Stream | None:
        """The definition of a stream; raises `ConfigurationError` naming both where two patterns match it."""
        if name in self.named:
            return self.named[name]
        matching = [text for text, pattern in self._compiled.items() if pattern.fullmatch(name)]
        if len(matching) > 1:
            raise ConfigurationError(
                self._where, f"stream {name} matches two patterns: {matching[0]} and {matching[1]}"
            )
        return self.patterns[matching[0]] if matching else None


def decode_streams(data: bytes, where: str, arch: str, warn: Warn | None = None) -> Streams:
    """The streams of a file called ``where``, ``$ARCH`` expanded in their names; raises `ConfigurationError`."""
    file = decode_json(data, StreamsFile, where, warn)
    if file.streams is None and file.stream_patterns is None:
        raise ConfigurationError(where, "neither Streams nor StreamPatterns: expected a table of streams")
    variables = {"ARCH": arch}
    named = {expand(name, variables): stream for name, stream in (file.streams or {}).items()}
    for name in named:
        _check(name, where)
    # The anchor of an expression is no variable; only $ARCH is.
    patterns = {
        re.sub(r"\$(ARCH\b|\{ARCH\})", arch, text): stream for text, stream in (file.stream_patterns or {}).items()
    }
    return Streams(named, patterns, where)


def _check(name: str, where: str) -> None:
    try:
        check_stream_name(name)
    except InvalidRequest as error:
        raise ConfigurationError(where, f"$.Streams: {error}") from None


def _compile(text: str, where: str) -> re2._Regexp:
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(text, options)
    except re2.error as error:
        raise ConfigurationError(where, f"$.StreamPatterns: {text!r} is no regular expression: {error}") from None
