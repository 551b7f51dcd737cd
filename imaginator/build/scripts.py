"""The scripts of a manifest: copied into the image, run one by one, and gone again."""

from __future__ import annotations

import os
import re
from pathlib import Path

from imaginator.build import packager
from imaginator.build.construction import Access, Construction

PLACE = b"/.scripts"

_NUMBER = re.compile(rb"(\d+)")


async def run_scripts(construction: Construction, directory: Path, access: Access) -> None:
    """Run what is in ``directory``, if it exists, in the order of version numbers; raises `BuildFailed`."""
    if not directory.is_dir():
        return
    await construction.tree.remove(PLACE)  # what the image has there is no script of this manifest
    names = await construction.tree.copy_flat(directory.parent, directory.name, PLACE, 0o755)
    for name in sorted(names, key=version_key):
        title = f"{directory.name}/{os.fsdecode(name)}"
        construction.monitor.note(f"--- {title}")
        script = os.fsdecode(PLACE + b"/" + name)
        await construction.command(title, [packager.PATH.decode(), "run", script], access)
    await construction.tree.remove(PLACE)


def version_key(name: bytes) -> list[tuple[int, bytes]]:
    """Sorts ``9_x`` before ``10_x``: runs of digits count as numbers, all else as bytes."""
    parts = _NUMBER.split(name)
    return [(int(part) if place % 2 else 0, part) for place, part in enumerate(parts)]
