"""What is configured: the main configuration, the image streams, the secret variables; watched, last good kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger

from imaginator.build.environment import shown_secrets
from imaginator.build.fetch import Fetcher
from imaginator.build.verbatim import check_verbatim
from imaginator.model.giturl import without_password
from imaginator.model.problems import Problem
from imaginator.model.redaction import SHORTEST_SECRET, Redactor
from imaginator.model.settings import BootstrapStream, Settings, decode_settings
from imaginator.model.streams import Stream, Streams, decode_streams
from imaginator.model.variables import expand, parse_variables_file
from imaginator.sandbox.process import Reactor
from imaginator.schedule.document import Document
from imaginator.store.workers import Workers

LOCAL_INTERVAL = 1.0
"""Seconds between two looks at local files; those of a server are asked for every check interval."""

ORIGINAL_COPY = "image-streams.json"
"""Where the original keeps its last good streams, in the state directory."""

_NO_SETTINGS = Settings()
_NO_STREAMS = Streams({}, {})
_log = Logger()


class ConfigurationParts(NamedTuple):
    """What a configuration is made from; ``variables`` is the file of secret variables, None for none."""

    reactor: Reactor
    fetcher: Fetcher
    workers: Workers
    state_dir: Path
    url: str
    variables: Path | None
    arch: str


class Configuration:
    """The configuration in force. `load` comes first; then `look` is to be called every `LOCAL_INTERVAL`.

    ``refusals`` counts the errors that were found since the start.
    """

    def __init__(self, parts: ConfigurationParts) -> None:
        self._parts = parts
        self._turn = DeferredLock()
        self._server_turn = 0.0
        self._redactor = Redactor({})
        self._shown = without_password(parts.url)
        self.arch = parts.arch
        folder = parts.state_dir / "configuration"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        settings, streams = folder / "settings.json", folder / "streams.json"
        _import(parts.state_dir / ORIGINAL_COPY, streams)
        self._settings = Document(parts.fetcher, parts.workers, settings, self._decode_settings, self._check_settings)
        self._streams = Document(parts.fetcher, parts.workers, streams, self._decode_streams)
        self._variables = Document(parts.fetcher, parts.workers, None, self._decode_variables)
        self.refusals = 0

    async def load(self) -> None:
        """Read everything once; raises `ConfigurationError` where there is no main configuration to work with."""
        await self._refresh(everything=True)
        if self._settings.problem and (self._settings.malformed or self._settings.value is None):
            raise self._settings.problem

    @property
    def settings(self) -> Settings:
        """The main configuration."""
        return self._settings.value or _NO_SETTINGS

    @property
    def streams(self) -> Streams:
        """The image streams."""
        return self._streams.value or _NO_STREAMS

    @property
    def secrets(self) -> dict[str, str]:
        """The variables of the variables file."""
        return self._variables.value or {}

    @property
    def redactor(self) -> Redactor:
        """Replaces the secrets that are known, and those that were: there is one for a daemon's life."""
        return self._redactor

    def redact(self, text: str) -> str:
        """``text`` without secrets."""
        return self._redactor.text(text)

    @property
    def errors(self) -> list[str]:
        """What is wrong with the latest version of each file, for people."""
        documents = (self._variables, self._settings, self._streams)
        problems = [document.problem.problems for document in documents if document.problem]
        return [str(problem) for some in problems for problem in some]

    @property
    def names(self) -> list[str]:
        """The names of all streams that are named, sorted."""
        return sorted({*self.settings.bootstrap_streams, *self.streams.named})

    async def find(self, name: str) -> BootstrapStream | Stream | None:
        """The definition of a stream; an unknown name makes everything be read again first."""
        found = self._find(name)
        if found is None:
            await self._refresh(everything=True)
            found = self._find(name)
        return found

    def _find(self, name: str) -> BootstrapStream | Stream | None:
        return self.settings.bootstrap_streams.get(name) or self.streams.find(name)

    def reload(self) -> Deferred[None]:
        """Read everything again, now."""
        return Deferred.fromCoroutine(self._refresh(everything=True))

    async def look(self) -> None:
        """One turn of the watch: local files every time, those of a server when their interval is over."""
        now = self._parts.reactor.seconds()
        everything = now >= self._server_turn
        if everything:
            self._server_turn = now + max(self.settings.image_streams_check_interval, LOCAL_INTERVAL)
        await self._refresh(everything)

    async def _refresh(self, everything: bool) -> None:
        """Fetch what has changed; files of servers only if ``everything``."""
        await self._turn.acquire()
        try:
            before = self.errors
            if self._parts.variables:
                path = str(self._parts.variables)
                await self._variables.refresh(path, path, self._redactor)
            if everything or _is_local(self._parts.url):
                await self._settings.refresh(self._parts.url, self._shown, self._redactor)
            await self._refresh_streams(everything)
            self._tell(before)
        finally:
            self._turn.release()

    async def _refresh_streams(self, everything: bool) -> None:
        url = self.settings.image_streams_url
        if not url and self._settings.value is not None:
            self._streams.forget()
            return
        expanded = self._expanded(self.secrets)
        if url and (everything or _is_local(expanded)):
            await self._streams.refresh(expanded, self._shown_streams_url(), self._redactor)

    def _tell(self, before: list[str]) -> None:
        for error in self.errors:
            if error not in before:
                self.refusals += 1
                _log.error("configuration: {error}", error=error)
        if before and not self.errors:
            _log.info("configuration: mended")

    def _expanded(self, secrets: dict[str, str]) -> str:
        return expand(self.settings.image_streams_url, {**secrets, "ARCH": self.arch})

    def _shown_streams_url(self) -> str:
        return without_password(self._expanded(shown_secrets(self.secrets)))

    def _decode_settings(self, data: bytes) -> Settings:
        return decode_settings(data, self._shown, self.arch, _warn)

    async def _check_settings(self, settings: Settings) -> None:
        await check_verbatim(self._parts.reactor, settings, self._shown)

    def _decode_streams(self, data: bytes) -> Streams:
        return decode_streams(data, self._shown_streams_url(), self.arch, _warn)

    def _decode_variables(self, data: bytes) -> dict[str, str]:
        variables = parse_variables_file(data, str(self._parts.variables))
        # Before anybody can use them.
        self._redactor.learn(variables)
        for name in _short(variables):
            words = f"{name} is shorter than {SHORTEST_SECRET} characters: it is not redacted"
            _warn(Problem(str(self._parts.variables), words))
        return variables


def _import(original: Path, copy: Path) -> None:
    """Take over the last good streams of the original, when its state directory becomes ours."""
    if original.is_file() and not copy.exists():
        original.rename(copy)


def _short(variables: dict[str, str]) -> Iterator[str]:
    return (name for name, value in variables.items() if len(value) < SHORTEST_SECRET)


def _warn(problem: Problem) -> None:
    _log.warn("{problem}", problem=str(problem))


def _is_local(url: str) -> bool:
    return url.startswith(("/", "file:"))
