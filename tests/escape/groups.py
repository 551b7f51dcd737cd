"""Control groups for a twin of the host alone.

Processes have other numbers in the twin. A daemon of the host that clears away the groups of daemons that are gone
would not know the twin's for alive, and end what runs in them; so they lie where no daemon looks.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from imaginator.sandbox.delegation import ROOT
from imaginator.sandbox.limits import FOLDER, available


@contextmanager
def own_groups(name: str) -> Iterator[None]:
    """Make groups called ``name``, in which `show_own` lets a twin make its own; they are removed with those."""
    folders = [root / name for root in _roots()]
    if ROOT in _roots():
        (ROOT / "cgroup.subtree_control").write_text(" ".join(f"+{controller}" for controller in available()))
    for folder in folders:
        folder.mkdir()
    try:
        yield
    finally:
        for folder in folders:
            for each in (*(folder / FOLDER).glob("*/"), folder / FOLDER, folder):
                with suppress(FileNotFoundError):
                    each.rmdir()


def show_own(name: str) -> None:
    """Let the groups called ``name`` be all that this mount namespace has."""
    for root in _roots():
        subprocess.run(["mount", "--bind", str(root / name), str(root)], check=True)


def _roots() -> list[Path]:
    """The top of the one hierarchy of version 2, or of each of version 1 that sandboxes use."""
    return [ROOT] if (ROOT / "cgroup.controllers").exists() else [ROOT / name for name in available()]
