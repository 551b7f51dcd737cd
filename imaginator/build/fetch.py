"""Fetching one small file, such as a configuration: from a path, over HTTP(S), or out of a Git repository."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import NamedTuple, NoReturn
from urllib.parse import unquote, urlsplit

import treq
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import IReactorTime
from twisted.web.client import Agent, HTTPConnectionPool, ResponseFailed
from twisted.web.error import Error as HTTPError
from twisted.web.error import SchemeNotSupported
from twisted.web.http_headers import Headers
from twisted.web.iweb import IResponse

from imaginator.build.retry import Tell, retried
from imaginator.build.sources import Sources
from imaginator.model.errors import BuildFailed, ConfigurationError, TimedOut, Unreachable
from imaginator.model.giturl import RepositoryFile, repository_file, without_password
from imaginator.model.redaction import Redactor

LARGEST = 16 << 20
"""Bytes of a fetched file."""

_EXPECTED = "no URL that can be fetched: expected a path, file://, http://, https:// or REPOSITORY.git/PATH"

LONGEST = 30.0
"""Seconds from the request to the last byte."""

PASSING = (408, 425, 429)
"""Statuses of a server that may say something else the next time, beside its own errors."""


class Validators(NamedTuple):
    """What a server said of a file's version (RFC 9110, section 8.8); empty where it said nothing."""

    etag: str = ""
    last_modified: str = ""


NOTHING_KNOWN = Validators()
_NO_SECRETS = Redactor({})


class Fetched(NamedTuple):
    """A file's content, None where it is still the known one, and what to ask with the next time."""

    data: bytes | None
    validators: Validators


class Fetcher:
    """Fetches files, those in repositories by ``sources``, without which they are refused.

    ``client`` is the HTTP client to use, by default one of ``reactor`` that keeps no connection.
    """

    def __init__(self, reactor: IReactorTime, client: HTTPClient | None = None, sources: Sources | None = None) -> None:
        pool = HTTPConnectionPool(reactor, persistent=False)
        self._reactor = reactor
        self._sources = sources
        self._client = client or HTTPClient(Agent(reactor, connectTimeout=LONGEST, pool=pool))

    async def fetch(
        self,
        url: str,
        *,
        known: Validators = NOTHING_KNOWN,
        shown: str = "",
        redactor: Redactor = _NO_SECRETS,
        tell: Tell | None = None,
    ) -> Fetched:
        """The file at ``url``, unless it is still the one that ``known`` was said of.

        ``shown`` is the URL's public form, for errors, in which ``redactor`` hides what Git says. A server that
        does not answer is asked again for who has a ``tell``, which hears of it. Raises `ConfigurationError` for
        anything but a whole file, `Unreachable` where another try may bring it.
        """
        shown = without_password(shown or url)
        attempt = lambda: self._fetch(url, known, shown, redactor)  # noqa: E731
        return await (attempt() if tell is None else retried(self._reactor, attempt, tell))

    async def _fetch(self, url: str, known: Validators, shown: str, redactor: Redactor) -> Fetched:
        file = repository_file(url)
        if file is not None and self._sources is not None:
            return await _read_repository(self._reactor, self._sources, file, known, shown, redactor)
        try:
            kind = urlsplit(url)
        except ValueError as error:
            raise ConfigurationError(shown, f"no URL: {error}") from None
        if kind.scheme in ("http", "https"):
            return await self._get(url, known, shown)
        if kind.scheme == "file" and kind.netloc in ("", "localhost"):
            return _read(Path(unquote(kind.path)), known, shown)
        if url.startswith("/"):
            return _read(Path(url), known, shown)
        raise ConfigurationError(shown, _EXPECTED)

    async def _get(self, url: str, known: Validators, shown: str) -> Fetched:
        """Fetch over HTTP, within the time limit; what went wrong is told without the URL's secret parts."""
        getting = ensureDeferred(self._exchange(url, known, shown)).addTimeout(LONGEST, self._reactor, _out_of_time)
        try:
            return await getting
        except (CancelledError, ConfigurationError):
            raise
        except _OutOfTime:
            problem = f"no whole answer within {LONGEST:.0f} s"
        except DNSLookupError:
            problem = "no address is known of this host"
        except ConnectError as error:
            problem = f"cannot connect: {error.__doc__ or type(error).__name__}".strip().rstrip(".")
        except (ResponseFailed, SchemeNotSupported, ValueError) as error:
            cause = error.reasons[0].value if isinstance(error, ResponseFailed) else error
            problem = f"no proper answer: {type(cause).__name__}"
            if isinstance(cause, (HTTPError, SchemeNotSupported, ValueError)):
                raise ConfigurationError(shown, problem) from None  # it would say so again
        raise Unreachable(shown, problem)

    async def _exchange(self, url: str, known: Validators, shown: str) -> Fetched:
        response: IResponse = await self._client.get(url, headers=_conditions(known), unbuffered=True)
        validators = Validators(_header(response, "ETag"), _header(response, "Last-Modified"))
        if response.code == 304:
            return Fetched(None, known)
        if response.code != 200:
            with contextlib.suppress(ConfigurationError):
                await _body(response, shown)  # a connection whose body nobody takes stays open
            kind = Unreachable if response.code >= 500 or response.code in PASSING else ConfigurationError
            raise kind(shown, f"the server answers {response.code} {response.phrase.decode('latin-1')}")
        return Fetched(await _body(response, shown), validators)


class _OutOfTime(Exception):
    """The time limit of a request."""


def _out_of_time(_result: object, _seconds: float) -> NoReturn:
    raise _OutOfTime


def _conditions(known: Validators) -> Headers:
    headers = {"If-None-Match": known.etag, "If-Modified-Since": known.last_modified}
    return Headers({name: [value] for name, value in headers.items() if value})


def _header(response: IResponse, name: str) -> str:
    values = response.headers.getRawHeaders(name) or [""]
    return str(values[-1])


async def _body(response: IResponse, shown: str) -> bytes:
    """The whole body; raises `ConfigurationError` as soon as it is too large."""
    data = bytearray()

    def collect(more: bytes) -> None:
        data.extend(more)
        if len(data) > LARGEST:
            raise ConfigurationError(shown, f"more than {LARGEST} bytes")

    collecting: Deferred[None] = treq.collect(response, collect)
    await collecting
    return bytes(data)


async def _read_repository(
    clock: IReactorTime, sources: Sources, file: RepositoryFile, known: Validators, shown: str, redactor: Redactor
) -> Fetched:
    """A file of a repository's default branch; the commit stands for an entity tag."""
    repository = repository_file(shown)
    public = repository.repository if repository else shown
    reading = ensureDeferred(sources.read(file, public, redactor, known.etag, LARGEST))
    try:
        found = await reading.addTimeout(LONGEST, clock, _out_of_time)
    except _OutOfTime:
        raise Unreachable(shown, f"no whole answer within {LONGEST:.0f} s") from None
    except (BuildFailed, TimedOut) as error:
        raise Unreachable(shown, str(error)) from None
    return Fetched(found.data, Validators(etag=found.commit))


def _read(path: Path, known: Validators, shown: str) -> Fetched:
    """A local file; its inode, size and mtime stand for an entity tag."""
    try:
        # Not blocking: opening a fifo must not wait for its writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigurationError(shown, f"cannot be read: {error.strerror}") from None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise ConfigurationError(shown, "not a regular file")
        if found.st_size > LARGEST:
            raise ConfigurationError(shown, f"{found.st_size} bytes: at most {LARGEST} are allowed")
        validators = Validators(etag=f"{found.st_ino}-{found.st_size}-{found.st_mtime_ns}")
        return Fetched(None if validators == known else os.read(descriptor, LARGEST), validators)
    finally:
        os.close(descriptor)
