"""The steps of a manifest build, one function each, in the order that section 6 of the specification gives them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from imaginator.build import packager
from imaginator.build.construction import Access, Construction, together
from imaginator.build.downloads import Downloads, offered
from imaginator.build.environment import resolver_configuration
from imaginator.build.matching import Matching
from imaginator.build.scripts import run_scripts
from imaginator.build.tests import PLACE as TESTS
from imaginator.build.tests import run_tests
from imaginator.model.build import Stage
from imaginator.model.errors import BuildFailed
from imaginator.model.filters import Filter
from imaginator.model.fingerprint import digest
from imaginator.model.image import Package
from imaginator.model.manifest import Manifest
from imaginator.model.tree import Kind
from imaginator.sandbox.sandbox import Bind

SYSTEM_MOUNTS = (b"/proc", b"/sys")
DEVICES = b"/dev"

_RESOLVER = b"/etc/resolv.conf"
_HOST_RESOLVER = Path("/etc/resolv.conf")
_LARGEST_SCRIPT = 1 << 20


class Packaging(NamedTuple):
    """What a build knows of its source image's packager.

    ``downloads`` are the packages that it need not download again; ``index_command`` is its packager type's.
    """

    downloads: Downloads | None = None
    index_command: tuple[str, ...] = ()


class Steps:
    """What a manifest in ``directory`` does to the tree of a construction; every step may raise `BuildFailed`."""

    def __init__(self, construction: Construction, directory: Path, manifest: Manifest) -> None:
        self._construction = construction
        self._tree = construction.tree
        self._monitor = construction.monitor
        self._directory = directory
        self._manifest = manifest

    async def prepare(self) -> None:
        """Steps 2 to 4: what the packages need."""
        self._monitor.stage(Stage.FILES)
        await let_resolve(self._construction)
        await self._copy("files")
        await self._append("files.append")
        self._monitor.stage(Stage.PRE_INSTALL_SCRIPTS)
        await self._run("pre-install-scripts")

    async def _run(self, name: str, mounts: bool = True) -> None:
        await run_scripts(self._construction, self._directory / name, Access(self._may_reach_out(name), mounts))

    def _may_reach_out(self, name: str) -> bool:
        """Whether what a directory of the manifest holds is run with network."""
        return self._construction.network and name not in self._manifest.file.without_network

    async def _copy(self, name: str, target: bytes = b"/") -> None:
        if (self._directory / name).is_dir():
            await self._tree.copy_in(self._directory, name, target)

    async def _append(self, name: str) -> None:
        if (self._directory / name).is_dir():
            for path in await self._tree.append_in(self._directory, name):
                self._monitor.note(f"{name}: {os.fsdecode(path)} is a symbolic link: skipped")


class Recipe(Steps):
    """All steps of a manifest.

    ``index`` is the state of the package index that was installed from, empty where none was, or nobody can tell.
    """

    def __init__(
        self,
        construction: Construction,
        directory: Path,
        manifest: Manifest,
        matching: Matching,
        packaging: Packaging,
    ) -> None:
        super().__init__(construction, directory, manifest)
        self.index = ""
        self._matching = matching
        self._packaging = packaging

    async def apply(self, stream: str, shared: Sequence[Bind]) -> tuple[Package, ...]:
        """All steps but packing; the packages that are installed in the end. Steps 2 to 9 see what is ``shared``."""
        devices = await self._change(shared)
        await self._bring_tests(TESTS + b"/" + stream.encode())
        packages = await list_and_test(self._construction, self._may_reach_out("tests"))
        await self._tree.remove_mount_points(devices)
        return packages

    async def process(self, shared: Sequence[Bind]) -> None:
        """Steps 2 to 11 alone, for a tree that is no image."""
        await self._tree.remove_mount_points(await self._change(shared))

    async def _change(self, shared: Sequence[Bind]) -> list[bytes]:
        """Steps 2 to 11; the mount points that are there yet."""
        await require_packager(self._construction)
        devices = await self._tree.make_mount_points([DEVICES])
        stubs = await self._tree.make_mount_points(SYSTEM_MOUNTS)
        async with self._construction.sharing(shared):
            await self.prepare()
            await self._install()
            await self._configure()
            await self._clean()
        await self._tree.remove_mount_points(stubs)
        await self._clean_up()
        return devices

    async def _install(self) -> None:
        """Step 5: the packages; an empty list does nothing."""
        self._monitor.stage(Stage.PACKAGES)
        if not self._manifest.packages:
            return
        async with offered(self._packaging.downloads, self._construction) as binds:
            await self._construction.packager_online("update", binds=binds)
            self.index = await index_state(self._construction, self._packaging.index_command)
            for step in (("upgrade",), ("install", *self._manifest.packages)):
                await self._construction.packager_online(*step, binds=binds)

    async def _configure(self) -> None:
        """Steps 6 to 8: what needs the packages."""
        self._monitor.stage(Stage.POST_INSTALL_FILES)
        await self._copy("post-install-files")
        await self._append("post-install-files.append")
        self._monitor.stage(Stage.SCRIPTS)
        await self._run("scripts")

    async def _clean(self) -> None:
        """Steps 9 and 10: package clean-up, and files that it could not spoil."""
        self._monitor.stage(Stage.CLEAN)
        await clean(self._construction, self._matching)
        await self._copy("post-scripts-files")

    async def _clean_up(self) -> None:
        """Step 11: scripts without bind mounts and system mounts."""
        self._monitor.stage(Stage.POST_CLEANUP_SCRIPTS)
        await self._run("post-cleanup-scripts", mounts=False)

    async def _bring_tests(self, place: bytes) -> None:
        """Copy the manifest's tests to where they are looked for."""
        await self._copy("tests", place)
        status = await self._tree.stat(TESTS)
        if (self._directory / "tests").is_dir() and status is not None and status.kind is not Kind.DIRECTORY:
            raise BuildFailed(f"{TESTS.decode()} of the image is a link: tests behind it would not be run")


async def index_state(construction: Construction, command: Sequence[str]) -> str:
    """What differs when the package index does, as ``command`` has it; empty where it cannot tell."""
    if not command:
        return ""
    try:
        return digest(await construction.packager_answer("run", *command))
    except BuildFailed as error:
        construction.monitor.note(f"the state of the package index is not known: {error}")
        return ""


async def let_resolve(construction: Construction) -> None:
    """Let the commands find hosts by name."""
    await construction.tree.write(_RESOLVER, resolver_configuration(_text(_HOST_RESOLVER)))


async def require_packager(construction: Construction) -> None:
    """Raise `BuildFailed` where a source image cannot be built upon."""
    if await construction.tree.read(packager.PATH, _LARGEST_SCRIPT) is None:
        raise BuildFailed(f"the source image has no {packager.PATH.decode()}: it cannot be built upon")


async def clean(construction: Construction, matching: Matching) -> None:
    """The packager's clean command, then its clean patterns; ``resolv.conf`` is left empty."""
    _, lines = await together(construction.packager("clean"), _clean_patterns(construction))
    if lines:
        gone = [path for path in await matching.find(Filter(lines, "clean patterns")) if not _is_mounted(path)]
        await construction.tree.remove_all(gone)
        construction.monitor.note(f"removed by clean patterns: {len(gone)} paths")
    await construction.tree.write(_RESOLVER, b"")


def _is_mounted(path: bytes) -> bool:
    """Whether commands see a mount at a path of the tree; what the image has beneath it stays as it is."""
    return any(path == mount or path.startswith(mount + b"/") for mount in (DEVICES, *SYSTEM_MOUNTS))


async def _clean_patterns(construction: Construction) -> list[str]:
    """The image's clean patterns; an image that cannot tell has none."""
    try:
        output = await construction.packager_answer("show-clean-patterns")
    except BuildFailed as error:
        construction.monitor.note(f"no clean patterns: {error}")
        return []
    return [line for line in os.fsdecode(output).split("\n") if line]


async def list_and_test(construction: Construction, network: bool) -> tuple[Package, ...]:
    """List the packages of a tree that is finished, and run its tests, maybe with network; raises `BuildFailed`."""
    tree = construction.tree
    stubs = await tree.make_mount_points(SYSTEM_MOUNTS)
    packages = await _packages(construction)
    construction.monitor.stage(Stage.TESTS)
    await run_tests(construction, network)
    await tree.remove_mount_points(stubs)
    return packages


async def _packages(construction: Construction) -> tuple[Package, ...]:
    answers = (construction.packager_answer(question) for question in ("show-size-multiplier", "list"))
    multiplier, lines = await together(*answers)
    return packager.parse_list(lines, packager.parse_multiplier(multiplier))


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
