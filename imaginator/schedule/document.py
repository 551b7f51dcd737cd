"""One watched configuration file: fetched when it changes, decoded, the last good copy kept.

A broken new version never replaces a good one; its error is shown until it is mended.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from imaginator.build.fetch import Fetcher, Validators
from imaginator.model.errors import ConfigurationError
from imaginator.store.workers import Workers

T = TypeVar("T")
Decode = Callable[[bytes], T]
"""Raises `ConfigurationError` for data that makes no sense; runs in a worker thread."""


class Document(Generic[T]):
    """A file's last good value; ``error`` says what is wrong with its latest version, empty for nothing.

    Good versions are copied to ``copy``, which stands in at start while the file cannot be reached; None: never.
    """

    def __init__(self, fetcher: Fetcher, workers: Workers, copy: Path | None, decode: Decode[T]) -> None:
        self._fetcher = fetcher
        self._workers = workers
        self._copy = copy
        self._decode = decode
        self._known = Validators()
        self._url = ""
        self.value: T | None = None
        self.error = ""

    async def refresh(self, url: str, shown: str) -> bool:
        """Fetch the file if it has changed; whether there is a new value."""
        if url != self._url:
            self._url, self._known = url, Validators()
        try:
            fetched = await self._fetcher.fetch(url, known=self._known, shown=shown)
        except ConfigurationError as error:
            self.error = str(error)
            return self.value is None and await self._recall()
        if fetched.data is None:
            return False
        self._known = fetched.validators
        return await self._take(fetched.data)

    async def _take(self, data: bytes) -> bool:
        try:
            self.value = await self._workers.run(self._decode, data)
        except ConfigurationError as error:
            self.error = str(error)
            return False
        self.error = ""
        await self._workers.run(self._remember, data)
        return True

    async def _recall(self) -> bool:
        """Take the last good copy, where the file cannot be reached and nothing is known yet."""
        if self._copy is None or not self._copy.exists():
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
