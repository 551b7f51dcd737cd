"""dnf fills a tree in the bootstrap profile, offline; debootstrap and mmdebstrap: make escape."""

from __future__ import annotations

from pathlib import Path

import pytest
import pytest_twisted

from tests.packages.bootstraps import bootstrap, dnf
from tests.support.sandboxes import walk

pytestmark = pytest.mark.integration


@pytest_twisted.ensureDeferred
async def test_dnf_installs_into_an_empty_directory(tmp_path: Path) -> None:
    """Scripts of a package run; owners, set-id bits and capabilities are the package's."""
    said = await bootstrap(dnf(tmp_path / "rpm"), tmp_path / "build")

    tree = walk(tmp_path / "build" / "upper" / "srv" / "greeter")
    described = {name: entry[:2] for name, entry in tree.items()}
    assert ["hello", "installed"] == said.split()
    assert ("0o100640", (12, 34)) == described[b"/words"]
    assert ("0o104755", (0, 0)) == described[b"/elevated"]
    assert ["security.capability"] == list(tree[b"/able"][5])
