"""The engine: takes a job, gives an image, and leaves nothing else behind."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec
from twisted.internet.defer import CancelledError

from imaginator.build import bootstrap, metadata
from imaginator.build.construction import Construction
from imaginator.build.contents import content_of
from imaginator.build.described import Description, fetch_description
from imaginator.build.downloads import downloads_of
from imaginator.build.environment import bootstrap_environment, build_environment, job_variables
from imaginator.build.fetch import Fetcher
from imaginator.build.fingerprinting import bootstrap_fingerprint, facts_of, manifest_fingerprint
from imaginator.build.job import Job, SourceResolver
from imaginator.build.keeping import keep, tree_of
from imaginator.build.locations import locate, shown_place
from imaginator.build.manifests import load_manifest
from imaginator.build.matching import Matching
from imaginator.build.metadata import Ingredients
from imaginator.build.monitor import Monitor
from imaginator.build.pack import Packed, Packing, pack
from imaginator.build.proof import Prover
from imaginator.build.recipe import Packaging, Recipe
from imaginator.build.removing import Remover
from imaginator.build.shared import shared_directories, trim
from imaginator.build.sources import Checkout, Sources
from imaginator.build.wishes import wish_of
from imaginator.model.build import Stage
from imaginator.model.clock import wall_seconds
from imaginator.model.errors import BuildFailed, ImaginatorError, NotFound
from imaginator.model.filters import Filter
from imaginator.model.fingerprint import Fingerprint
from imaginator.model.image import Image, Package
from imaginator.model.manifest import Manifest
from imaginator.model.problems import Problem, bounded
from imaginator.model.redaction import Redactor
from imaginator.model.settings import BootstrapStream
from imaginator.model.streams import Stream
from imaginator.model.uses import bootstrap_uses, manifest_uses, stream_uses
from imaginator.model.variables import check_without_secrets
from imaginator.sandbox.limits import Limits
from imaginator.sandbox.process import Reactor
from imaginator.sandbox.sandbox import Bind, Preparation, Profile, Sandbox, Workspace
from imaginator.store.interface import Hold, ImageStore, Wanted
from imaginator.store.kept import Kept
from imaginator.store.layers import Layers
from imaginator.store.merkle import Rules
from imaginator.store.packages import Packages
from imaginator.store.sieve import Sieve, SieveMemory
from imaginator.store.workers import Workers


class EngineParts(NamedTuple):
    """What builds share. Workspaces live in ``state_dir/builds``, on the file system of the store.

    With ``verify`` every build proves its result by a full scan.
    """

    reactor: Reactor
    state_dir: Path
    store: ImageStore
    layers: Layers
    sources: Sources
    fetcher: Fetcher
    workers: Workers
    memory: SieveMemory
    packages: Packages
    kept: Kept
    verify: bool = False


class Engine:
    """Runs builds, each in a workspace of its own, which is gone when the build has ended.

    Where the job wants it, that of a build that failed is kept instead (`imaginator.store.kept`).
    """

    def __init__(self, parts: EngineParts) -> None:
        self._parts = parts
        self._remover = Remover(parts.reactor, parts.workers)

    async def build(
        self, job: Job, monitor: Monitor, source: SourceResolver, failed: Callable[[], bool] = bool
    ) -> Image:
        """The image that ``job`` makes, added to the store; ``source`` finds the image that a manifest builds on.

        Raises an `ImaginatorError` with a sentence; cancelling it ends every command before it returns. Whether it is
        a failure where it is cancelled, so that its tree is worth being kept, is what ``failed`` says then.
        """
        async with self._begun(job, monitor, failed) as build:
            return await build.run(source)

    async def process(self, job: Job, monitor: Monitor, root: Path) -> None:
        """Apply the manifest of ``job`` to the tree in the directory ``root``, in place; neither filtered nor tested.

        Raises an `ImaginatorError` with a sentence; what was done until then stays, but no command and no mount.
        """
        async with self._begun(job, monitor) as build:
            await build.process(root)

    @asynccontextmanager
    async def _begun(self, job: Job, monitor: Monitor, failed: Callable[[], bool] = bool) -> AsyncIterator[_Build]:
        """A build with a workspace, which is gone when the context is left."""
        directory = self._parts.state_dir / "builds" / job.build_id
        try:
            directory.mkdir(parents=True, mode=0o700)
            with self._parts.store.hold() as hold:
                yield _Build(self._parts, job, monitor, directory, hold, failed)
        except OSError as error:
            raise BuildFailed(f"{error.strerror or error}: {error.filename or directory}") from error
        finally:
            await self._remover.remove(directory, monitor.note)


class _Build:
    """One build at work in ``directory``; ``hold`` keeps what it stands on and what it makes."""

    def __init__(
        self,
        parts: EngineParts,
        job: Job,
        monitor: Monitor,
        directory: Path,
        hold: Hold,
        failed: Callable[[], bool],
    ) -> None:
        self._parts = parts
        self._job = job
        self._monitor = monitor
        self._directory = directory
        self._hold = hold
        self._failed = failed
        self._shared: tuple[Bind, ...] = ()
        self._has_tree = False
        store = parts.store
        self._prover = Prover(parts.workers, store.nodes(), store.objects) if parts.verify else None

    async def run(self, source: SourceResolver) -> Image:
        definition = self._job.definition
        if isinstance(definition, BootstrapStream):
            return await self._bootstrap(definition)
        return await self._apply_manifest(definition, source)

    async def process(self, root: Path) -> None:
        """Apply the manifest to the tree in ``root``."""
        self._monitor.stage(Stage.FETCH)
        definition, parts = self._job.definition, self._parts
        assert isinstance(definition, Stream)
        checkout, manifest, _ = await self._fetched(definition)
        shared = await parts.workers.run(shared_directories, self._job.settings, self._job.stream_name, parts.state_dir)
        workspace = Workspace(self._directory, place=root)
        async with self._construction(workspace, Profile.MANIFEST, self._environment(checkout)) as (image, sandbox):
            recipe = Recipe(image, checkout.directory, manifest, self._matching(sandbox, None), Packaging())
            await recipe.process(shared)

    async def _bootstrap(self, definition: BootstrapStream) -> Image:
        said = await self._description(definition)
        workspace = Workspace(self._directory)
        environment = build_environment(self._job, "")
        check_without_secrets(bootstrap_uses(definition), self._job.secrets, self._job.stream_name)
        hosts = bootstrap_environment(self._job, definition.bootstrap_command)
        async with self._keeping(environment, ()):
            async with self._construction(workspace, Profile.BOOTSTRAP, hosts) as (host, _):
                await bootstrap.fill(host, self._job, definition, workspace.upper)
            async with self._construction(workspace, Profile.MANIFEST, environment) as (image, sandbox):
                assert self._job.packager is not None
                packages = await bootstrap.furnish(image, self._job.packager, self._matching(sandbox, None))
                rules = await self._rules(definition.filter_lines, {}, None)
                packed = await self._pack(sandbox, None, rules)
        draft = metadata.with_bootstrap(self._draft(packages), definition, said, environment)
        draft = msgspec.structs.replace(draft, fingerprint=bootstrap_fingerprint(self._job, definition, said))
        return await self._store(draft, packed, workspace, ())

    async def _description(self, definition: BootstrapStream) -> Description:
        """What the stream's files say, fetched and checked before the bootstrap command runs."""
        if definition.image_filter_url or definition.image_tags_url or definition.image_triggers_url:
            self._monitor.stage(Stage.FETCH)
        return await fetch_description(
            self._parts.fetcher, self._parts.workers, self._job, definition, self._monitor.note
        )

    async def _apply_manifest(self, definition: Stream, source: SourceResolver) -> Image:
        # It gets ready while the manifest is fetched.
        preparation = Preparation(self._parts.reactor, self._directory, self._job.limits)
        job, parts = self._job, self._parts
        try:
            self._shared = await parts.workers.run(shared_directories, job.settings, job.stream_name, parts.state_dir)
            image = await self._apply_in(preparation, await self._gather(definition, source))
        finally:
            await preparation.close()
        await trim(job.settings, job.stream_name, parts.reactor, parts.workers, self._monitor)
        return image

    async def _apply_in(self, preparation: Preparation, made_from: Ingredients) -> Image:
        async with self._parts.layers.lent(made_from.source) as (layers, lowers):
            return await self._apply_over(preparation, made_from, layers, Workspace(self._directory, lowers))

    async def _apply_over(
        self, preparation: Preparation, made_from: Ingredients, layers: tuple[str, ...], workspace: Workspace
    ) -> Image:
        environment = self._environment(made_from.checkout)
        async with (
            self._keeping(environment, layers),
            self._construction(workspace, Profile.MANIFEST, environment, preparation) as (image, sandbox),
        ):
            matching = self._matching(sandbox, made_from.source)
            recipe = Recipe(
                image, made_from.checkout.directory, made_from.manifest, matching, self._packaging(made_from.source)
            )
            packages = await recipe.apply(self._job.stream_name, self._shared)
            computed = await self._parts.workers.run(metadata.computed_addresses, made_from, self._parts.store.nodes())
            rules = await self._rules(made_from.manifest.file.filter_lines or (), computed, made_from.manifest)
            packed = await self._pack(sandbox, made_from.source, rules)
        draft = metadata.with_manifest(self._draft(packages), made_from, environment, recipe.index)
        return await self._store(draft, packed, workspace, layers)

    async def _gather(self, definition: Stream, source: SourceResolver) -> Ingredients:
        """Fetch and check the manifest, then find the image that it builds on."""
        self._monitor.stage(Stage.FETCH)
        checkout, manifest, where = await self._fetched(definition)
        self._monitor.stage(Stage.SOURCE)
        image = await source(wish_of(self._job, manifest.file, self._environment(checkout), where))
        await self._hold.image(image)
        self._monitor.note(f"source image: {image.name}")
        return Ingredients(checkout, manifest, image, await self._fingerprint(definition, checkout, manifest, image))

    async def _fetched(self, definition: Stream) -> tuple[Checkout, Manifest, str]:
        """The manifest, fetched and checked, and where it comes from, without secrets."""
        check_without_secrets(stream_uses(definition), self._job.secrets, self._job.stream_name)
        location = locate(definition, job_variables(self._job), self._job.secrets, self._job.request.git_branch)
        redactor = await self._parts.workers.run(Redactor, self._job.secrets)
        checkout = await self._parts.sources.fetch(location, self._directory / "manifest", redactor, self._monitor.note)
        self._monitor.note(
            f"manifest: {location.shown} {redactor.text(location.directory)} {checkout.branch} {checkout.commit}"
        )
        where = shown_place(location, redactor)
        return checkout, await self._load(checkout, where), where

    async def _fingerprint(
        self, definition: Stream, checkout: Checkout, manifest: Manifest, source: Image
    ) -> Fingerprint:
        run = self._parts.workers.run
        content = checkout.content or await run(content_of, checkout.directory)
        facts = await run(facts_of, checkout.directory, manifest)
        environment = self._environment(checkout)
        return manifest_fingerprint(self._job, definition, content, facts, environment, source.name)

    async def _load(self, checkout: Checkout, where: str) -> Manifest:
        """The manifest, checked; what is doubtful in it is told."""
        doubts: list[Problem] = []
        manifest = await self._parts.workers.run(load_manifest, checkout.directory, where, doubts.append)
        for doubt in bounded(doubts):
            self._monitor.note(f"warning: {doubt}")
        check_without_secrets(manifest_uses(manifest), self._job.secrets, where)
        return manifest

    def _packaging(self, source: Image) -> Packaging:
        packager = self._job.settings.packager_types.get(source.packager_type)
        downloads = downloads_of(self._parts.packages, self._job.settings, source)
        return Packaging(downloads, packager.index_command if packager else ())

    def _environment(self, checkout: Checkout) -> dict[str, str]:
        return build_environment(self._job, checkout.commit)

    @asynccontextmanager
    async def _construction(
        self,
        workspace: Workspace,
        profile: Profile,
        environment: dict[str, str],
        preparation: Preparation | None = None,
    ) -> AsyncIterator[tuple[Construction, Sandbox]]:
        """A sandbox over ``workspace``; everything in it has ended when the context is left."""
        sandbox = await Sandbox.open(
            self._parts.reactor, workspace, profile, self._job.limits, preparation, self._job.destinations
        )
        self._has_tree = True
        network = self._job.network
        try:
            yield Construction(self._parts.reactor, sandbox, self._monitor, environment, network), sandbox
        finally:
            await sandbox.close()

    @asynccontextmanager
    async def _keeping(self, environment: dict[str, str], layers: tuple[str, ...]) -> AsyncIterator[None]:
        """Keep the tree where what is done here fails, while there is a tree."""
        try:
            yield
        except (ImaginatorError, OSError, CancelledError) as error:
            failed = not isinstance(error, CancelledError) or self._failed()
            if failed and self._job.keep_failed and self._has_tree:
                tree = tree_of(self._job, environment, layers, self._parts.kept.now())
                await keep(self._parts.kept, tree, self._directory, self._monitor)
            raise

    async def _rules(self, left_out: tuple[str, ...], computed: dict[bytes, bytes], manifest: Manifest | None) -> Rules:
        """How the tree becomes an image; the stream's previous image lends its mtimes."""
        previous = await self._previous()
        sieve = self._sieve(Filter(left_out, "FilterLines"))
        return Rules(
            left_out=sieve.matches if left_out else None,
            spares=sieve.spares,
            computed=computed,
            previous=previous.root if previous else None,
            keep_new_time=metadata.times_filter(self._job.settings, manifest).matches,
        )

    async def _previous(self) -> Image | None:
        """The stream's latest image, held; None where there is none."""
        previous = await self._parts.store.find_latest(Wanted(self._job.stream_name))
        with contextlib.suppress(NotFound):
            if previous is not None:
                await self._hold.image(previous)
                return previous
        return None

    def _matching(self, sandbox: Sandbox, source: Image | None) -> Matching:
        return Matching(sandbox.tree, source, self._sieve, self._parts.workers)

    def _sieve(self, patterns: Filter) -> Sieve:
        return Sieve(patterns, self._parts.store.nodes(), self._parts.memory)

    async def _pack(self, sandbox: Sandbox, source: Image | None, rules: Rules) -> Packed:
        self._monitor.stage(Stage.PACK)
        self._has_tree = False  # what is left of it from here on is on its way to become a layer
        store = self._parts.store
        packing = Packing(self._parts.workers, store.nodes(), store.objects, self._prover, self._hold)
        return await pack(packing, sandbox.tree, source, rules)

    async def _prove(self, packed: Packed, built: Workspace) -> None:
        """Let a build over the finished upper tell whether it shows the image."""
        if self._prover is None:
            return
        workspace = Workspace(self._directory / "proof", (built.upper, *built.lowers))
        sandbox = await Sandbox.open(self._parts.reactor, workspace, Profile.MANIFEST, Limits(0, 0))
        try:
            await self._prover.check_layers(sandbox.tree, packed.merged)
        finally:
            await sandbox.close()
        self._monitor.note("verified: the image equals a full scan of its tree and of its layers")

    def _draft(self, packages: tuple[Package, ...]) -> Image:
        return metadata.draft(self._job, packages, wall_seconds(self._parts.reactor))

    async def _store(self, draft: Image, packed: Packed, workspace: Workspace, layers: tuple[str, ...]) -> Image:
        """Keep the upper as the image's layer and add the image, in one step for everybody else."""
        await self._prove(packed, workspace)
        self._monitor.stage(Stage.STORE)
        merged = packed.merged
        complete = msgspec.structs.replace(
            draft, root=merged.root, links=merged.links, computed=merged.computed, figures=packed.figures
        )
        async with self._parts.layers.adopted(workspace.upper, packed.layer_size) as layer:
            image = await self._parts.store.add(complete, merged.nodes, (*layers, layer), self._monitor.note)
        self._monitor.note(_summary(image))
        return image


def _summary(image: Image) -> str:
    figures = image.figures
    return (
        f"{image.name}: {figures.files} files, {figures.directories} directories, {figures.bytes} bytes,"
        f" {figures.objects_new} objects new, {figures.objects_known} known, {len(image.packages)} packages"
    )
