"""An image of another store becomes one of this store, under the name that it has there."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from msgspec.structs import replace

from imaginator.build.engine import EngineParts
from imaginator.build.monitor import Monitor
from imaginator.build.pack import Packed, Packing, pack
from imaginator.build.removing import Remover
from imaginator.model.errors import BuildFailed
from imaginator.model.image import Figures, Image
from imaginator.sandbox.limits import Limits
from imaginator.sandbox.sandbox import Profile, Sandbox, Workspace
from imaginator.store.images import EmbeddedStore
from imaginator.store.interface import Hold
from imaginator.store.merkle import Rules

Fill = Callable[[Path], Awaitable[None]]
"""Makes a directory with an image's tree as the host's root has it, computed files as empty ones."""


async def bring(
    parts: EngineParts,
    store: EmbeddedStore,
    image: Image,
    computed: Mapping[bytes, bytes],
    fill: Fill,
    monitor: Monitor,
) -> Image:
    """Add ``image``, whose tree ``fill`` makes, and whose ``computed`` files have these addresses, by path.

    Raises `BuildFailed` where the tree is not what the image says of itself; then, or cancelled, it leaves nothing.
    """
    directory = parts.state_dir / "builds" / f"bring-{secrets.token_hex(6)}"
    workspace = Workspace(directory)
    directory.mkdir(mode=0o700)
    try:
        with store.hold() as hold:
            await fill(workspace.upper)
            packed = await _pack(parts, workspace, Rules(computed=computed), hold)
            _check(image, packed.figures)
            merged = packed.merged
            whole = replace(
                image, root=merged.root, links=merged.links, computed=merged.computed, figures=packed.figures
            )
            async with parts.layers.adopted(workspace.upper, packed.layer_size) as layer:
                return await store.bring(whole, merged.nodes, (layer,))
    finally:
        await Remover(parts.reactor, parts.workers).remove(directory, monitor.note)


async def _pack(parts: EngineParts, workspace: Workspace, rules: Rules, hold: Hold) -> Packed:
    packing = Packing(parts.workers, parts.store.nodes(), parts.store.objects, None, hold)
    sandbox = await Sandbox.open(parts.reactor, workspace, Profile.MANIFEST, Limits())
    try:
        return await pack(packing, sandbox.tree, None, rules)
    finally:
        await sandbox.close()


def _check(image: Image, found: Figures) -> None:
    """What was packed is as large as it was where it came from."""
    expected = image.figures
    for name in ("files", "directories", "bytes"):
        if getattr(expected, name) != getattr(found, name):
            raise BuildFailed(f"{image.name}: {getattr(expected, name)} {name} expected, {getattr(found, name)} found")
