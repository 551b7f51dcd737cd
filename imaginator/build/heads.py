"""What repositories' default branches are, found out once in one round of looking."""

from __future__ import annotations

from imaginator.build.sharing import Shared
from imaginator.build.sources import SourceLocation, Sources
from imaginator.model.redaction import Redactor


class Heads:
    """The commits of repositories' default branches, each asked for once."""

    def __init__(self, sources: Sources) -> None:
        self.sources = sources
        self._asked: dict[str, Shared[str]] = {}

    async def of(self, location: SourceLocation, redactor: Redactor) -> str:
        """The commit of a repository, fetched; raises what `Sources.head` raises."""
        if location.url not in self._asked:
            self._asked[location.url] = Shared(self.sources.head(location, redactor))
        return await self._asked[location.url].result()

    async def close(self) -> None:
        """End what is being asked."""
        for asked in self._asked.values():
            await asked.end()
