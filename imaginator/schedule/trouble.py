"""What keeps the state directory from being written: no build starts meanwhile, and all goes on once it is over."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from twisted.logger import Logger

from imaginator.model.errors import StoreUnwritable
from imaginator.store.catalogue import Catalogue

_log = Logger()


class Trouble:
    """The trouble with the directory ``place`` and the catalogue in it.

    ``go_on`` is called at each look that finds none: whatever was in the way of a build is tried again.
    """

    def __init__(self, place: Path, catalogue: Catalogue) -> None:
        self._place = place
        self._catalogue = catalogue
        self._told = ""
        self.go_on: Callable[[], None] = lambda: None

    def sentence(self) -> str:
        """What is wrong, as far as is known; empty where nothing is."""
        if os.statvfs(self._place).f_flag & os.ST_RDONLY:
            return f"{self._place} cannot be written: Read-only file system"
        return self._catalogue.trouble

    async def look(self) -> None:
        """Where the catalogue could not be written, try that again; tell what has changed."""
        if self._catalogue.trouble:
            with suppress(StoreUnwritable):
                await self._catalogue.probe()
        sentence = self.sentence()
        if sentence and sentence != self._told:
            _log.error("no new build starts: {trouble}", trouble=sentence)
        elif self._told and not sentence:
            _log.info("builds go on")
        self._told = sentence
        if not sentence:
            self.go_on()
