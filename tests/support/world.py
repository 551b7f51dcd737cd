"""Streams whose manifests lie in plain directories and in a repository, as a builder over real parts has them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imaginator.model.graph import Graph
from imaginator.schedule.dependencies import Dependencies, Snapshot
from tests.support.building import Building
from tests.support.git_repository import Repository


class World:
    """A configuration whose streams' manifests lie in ``manifests``, or in the repository ``repository``."""

    def __init__(self, folder: Path, system: Building) -> None:
        self.folder = folder
        self.system = system
        self.manifests = folder / "manifests"
        self.manifests.mkdir()
        self.repository = Repository(folder / "repository")
        self.repository.git("config", "uploadpack.allowFilter", "true")
        self.streams: dict[str, Any] = {}
        self.patterns: dict[str, Any] = {}

    @property
    def dependencies(self) -> Dependencies:
        """The graph's keeper."""
        return self.system.dependencies

    def plain(self, *names: str, **fields: Any) -> None:
        """Streams whose manifests lie in a directory of their name."""
        place = {"ManifestUrl": f"dir://{self.manifests}", "ManifestDirectory": "$IMAGE_STREAM"}
        self.streams |= {name: {**place, **fields} for name in names}

    def git(self, *names: str, url: str = "") -> None:
        """Streams whose manifests lie in a directory of their name of the repository."""
        place = {"ManifestUrl": url or f"file://{self.repository.directory}", "ManifestDirectory": "$IMAGE_STREAM"}
        self.streams |= dict.fromkeys(names, place)

    def write(self, sources: Mapping[str, str]) -> None:
        """Plain manifests, by name, of what they build on."""
        for name, source in sources.items():
            (self.manifests / name).mkdir(parents=True, exist_ok=True)
            (self.manifests / name / "manifest").write_text(json.dumps({"SourceImage": source}))

    def commit(self, sources: Mapping[str, str]) -> str:
        """The same in the repository."""
        files = {f"{name}/manifest": json.dumps({"SourceImage": source}) for name, source in sources.items()}
        return self.repository.commit(files)

    async def configure(self, **settings: Any) -> None:
        """Have the streams in force."""
        files = self.system.files
        files.write_main({"boot": "deb"}, {"deb": {}}, **settings)
        files.streams.write_text(json.dumps({"Streams": self.streams, "StreamPatterns": self.patterns}))
        await self.system.configuration.reload()
        assert [] == self.system.configuration.errors

    async def look(self, **settings: Any) -> Snapshot:
        """What is found with the streams in force."""
        await self.configure(**settings)
        return await self.dependencies.look()

    async def graph(self, **settings: Any) -> Graph:
        """The graph of that."""
        return (await self.look(**settings)).graph
