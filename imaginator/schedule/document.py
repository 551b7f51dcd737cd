"""One watched configuration file: fetched when it changes, decoded, the last good copy kept.

A broken new version never replaces a good one; its error is shown until it is mended.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Generic, TypeVar

from imaginator.build.fetch import NOTHING_KNOWN, Fetcher
from imaginator.model.errors import ConfigurationError
from imaginator.model.redaction import Redactor
from imaginator.store.workers import Workers

T = TypeVar("T")
Decode = Callable[[bytes], T]
"""Raises `ConfigurationError` for data that makes no sense; runs in a worker thread."""

Check = Callable[[T], Awaitable[None]]
"""Raises `ConfigurationError` for a value that only another program can tell to be wrong."""


class Document(Generic[T]):
    """A file's last good value; ``problem`` is what is wrong with its latest version, ``malformed`` if it is there.

    Good versions are copied to ``copy``, which stands in at start while there is none to be had; None: never.
    """

    def __init__(
        self, fetcher: Fetcher, workers: Workers, copy: Path | None, decode: Decode[T], check: Check[T] | None = None
    ) -> None:
        self._fetcher = fetcher
        self._workers = workers
        self._copy = copy
        self._decode = decode
        self._check = check
        self._known = NOTHING_KNOWN
        self._url = ""
        self.value: T | None = None
        self.problem: ConfigurationError | None = None
        self.malformed = False

    async def refresh(self, url: str, shown: str, redactor: Redactor) -> bool:
        """Fetch the file if it has changed; whether there is a new value. ``redactor`` knows the secrets in ``url``."""
        if url != self._url:
            self._url, self._known = url, NOTHING_KNOWN
        try:
            fetched = await self._fetcher.fetch(url, known=self._known, shown=shown, redactor=redactor)
        except ConfigurationError as problem:
            # The file may come back as it was: only its content then shows that all is well again.
            self._known = NOTHING_KNOWN
            self.problem, self.malformed = problem, False
            return await self._recall()
        if fetched.data is None:
            return False
        self._known = fetched.validators
        return await self._take(fetched.data)

    def forget(self) -> None:
        """There is no such file any more: neither its value nor its copy is to be used again."""
        self._url, self._known = "", NOTHING_KNOWN
        self.value = self.problem = None
        self.malformed = False
        if self._copy is not None:
            self._copy.unlink(missing_ok=True)

    async def _take(self, data: bytes) -> bool:
        try:
            value = await self._workers.run(self._decode, data)
            if self._check is not None:
                await self._check(value)
        except ConfigurationError as problem:
            self.problem, self.malformed = problem, True
            return await self._recall()
        self.value = value
        self.problem, self.malformed = None, False
        await self._workers.run(self._remember, data)
        return True

    async def _recall(self) -> bool:
        """Take the last good copy, where nothing is known yet."""
        if self.value is not None or self._copy is None or not self._copy.exists():
            return False
        try:
            self.value = await self._workers.run(self._decode, self._copy.read_bytes())
        except ConfigurationError:
            return False
        return True

    def _remember(self, data: bytes) -> None:
        if self._copy is not None:
            fresh = self._copy.with_suffix(".new")
            fresh.write_bytes(data)
            fresh.rename(self._copy)
