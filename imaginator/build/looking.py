"""Looks at what would go into an image now, without building it."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from imaginator.build.construction import Construction
from imaginator.build.contents import content_of
from imaginator.build.described import fetch_description
from imaginator.build.environment import build_environment, job_variables
from imaginator.build.fetch import Fetcher
from imaginator.build.fingerprinting import Facts, bootstrap_fingerprint, facts_of, manifest_fingerprint
from imaginator.build.heads import Heads
from imaginator.build.job import Job, SourceWish
from imaginator.build.locations import locate, shown_place
from imaginator.build.manifests import load_manifest
from imaginator.build.recipe import Steps
from imaginator.build.sources import PLAIN, SourceLocation, Sources, plain_directory, relative_directory
from imaginator.build.survey import Prepare
from imaginator.build.wishes import wish_of
from imaginator.model.errors import BuildFailed
from imaginator.model.fingerprint import Fingerprint
from imaginator.model.giturl import check_length
from imaginator.model.redaction import Redactor
from imaginator.model.settings import BootstrapStream
from imaginator.model.streams import Stream
from imaginator.model.uses import bootstrap_uses, manifest_uses, stream_uses
from imaginator.model.variables import check_without_secrets
from imaginator.store.workers import Workers

REMEMBERED = 4096
"""Manifests whose facts are remembered."""

_SCRIPTS = ("pre-install-scripts", "scripts", "post-cleanup-scripts")


class LookerParts(NamedTuple):
    """What looking needs; manifests are read below ``directory``, and ``redactor`` gives what hides secrets now."""

    directory: Path
    sources: Sources
    fetcher: Fetcher
    workers: Workers
    redactor: Callable[[], Redactor]


class Found(NamedTuple):
    """A manifest as it is now; ``plain`` is the directory of one without Git, whose ``commit`` is empty."""

    location: SourceLocation
    redactor: Redactor
    commit: str
    content: str
    plain: Path | None = None

    @property
    def where(self) -> str:
        """What it is called in errors."""
        return shown_place(self.location, self.redactor)


class Sight(NamedTuple):
    """What is to be seen of a manifest stream now, but for its source image, which ``wish`` says."""

    found: Found
    facts: Facts
    environment: dict[str, str]
    wish: SourceWish

    def unseen(self, definition: Stream) -> str:
        """What goes into the image that nobody can look at; empty for nothing."""
        without = self.facts.manifest.file.without_network
        online = [name for name in _SCRIPTS if name in self.facts.parts and name not in without]
        return f"its {online[0]} have network" if online and definition.network else ""


class Looker:
    """Looks at jobs; what a manifest says is remembered by its content."""

    def __init__(self, parts: LookerParts) -> None:
        self._parts = parts
        self.sources = parts.sources
        self._facts: dict[str, Facts] = {}

    async def bootstrap(self, job: Job, definition: BootstrapStream) -> Fingerprint:
        """The fingerprint of a bootstrap; raises what a build of it would."""
        check_without_secrets(bootstrap_uses(definition), job.secrets, job.stream_name)
        said = await fetch_description(self._parts.fetcher, self._parts.workers, job, definition)
        return bootstrap_fingerprint(job, definition, said)

    async def manifest(self, job: Job, definition: Stream, heads: Heads) -> Sight:
        """What a build of a manifest stream would see; raises what the build would."""
        check_without_secrets(stream_uses(definition), job.secrets, job.stream_name)
        location = locate(definition, job_variables(job), job.secrets)
        found = await self._find(location, self._parts.redactor(), heads)
        facts = self._facts.get(found.content) or await self._learn(found)
        check_without_secrets(manifest_uses(facts.manifest), job.secrets, found.where)
        environment = build_environment(job, found.commit)
        return Sight(found, facts, environment, wish_of(job, facts.manifest.file, environment, found.where))

    def preparation(self, definition: Stream, sight: Sight) -> Prepare | None:
        """How a tree becomes as the packager of a build finds it; None where the manifest does nothing before."""
        return partial(self._prepare, definition, sight) if sight.facts.prepares else None

    async def _prepare(self, definition: Stream, sight: Sight, construction: Construction) -> None:
        construction.network = definition.network
        async with self._directory(sight.found) as directory:
            await Steps(construction, directory, sight.facts.manifest).prepare()

    def fingerprint(self, job: Job, definition: Stream, sight: Sight, source: str) -> Fingerprint:
        """The fingerprint of what was seen, over the image called ``source``."""
        return manifest_fingerprint(job, definition, sight.found.content, sight.facts, sight.environment, source)

    async def _find(self, location: SourceLocation, redactor: Redactor, heads: Heads) -> Found:
        check_length(location.url, location.shown)
        directory = relative_directory(location)
        if location.url.startswith(PLAIN):
            plain = plain_directory(location, directory).directory
            return Found(location, redactor, "", await self._content(plain), plain)
        commit = await heads.of(location, redactor)
        return Found(location, redactor, commit, await self.sources.content(location, commit, redactor))

    async def _content(self, directory: Path) -> str:
        try:
            return await self._parts.workers.run(content_of, directory)
        except OSError as error:
            raise BuildFailed(f"{error.filename or directory}: {error.strerror}") from error

    async def _learn(self, found: Found) -> Facts:
        """Read a manifest, and remember its facts."""
        async with self._directory(found) as directory:
            facts = await self._parts.workers.run(_facts_at, directory, found.where)
        self._facts[found.content] = facts
        if len(self._facts) > REMEMBERED:
            del self._facts[next(iter(self._facts))]
        return facts

    @asynccontextmanager
    async def _directory(self, found: Found) -> AsyncIterator[Path]:
        """The manifest's directory, as long as the context is."""
        if found.plain is not None:
            yield found.plain
            return
        with tempfile.TemporaryDirectory(prefix="look-", dir=self._parts.directory) as folder:
            location = found.location._replace(branch=found.commit)
            checkout = await self.sources.fetch(location, Path(folder) / "manifest", found.redactor)
            yield checkout.directory


def _facts_at(directory: Path, where: str) -> Facts:
    return facts_of(directory, load_manifest(directory, where))
