"""Ten packages that are the same to the last bit, installed with and without the sandbox; the others: make escape."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
import pytest_twisted

from tests.packages.catalogue import SHORT, Case
from tests.packages.installing import Ground, compare, prepare

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]  # the first one may have to fetch from a mirror


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """A minimal Debian, and the packages' files."""
    folder = tmp_path_factory.mktemp("packages") / "ground"
    ground = prepare(folder)
    ground.debs.fetch(SHORT, folder / "fetching")
    yield ground
    shutil.rmtree(folder)


@pytest.mark.parametrize("case", SHORT, ids=lambda case: case.packages.replace(" ", "+"))
@pytest_twisted.ensureDeferred
async def test_installed_as_without_the_sandbox(ground: Ground, case: Case) -> None:
    """Types, modes, owners, devices, links, attributes, capabilities and contents are equal."""
    assert [] == (await compare(ground, case)).differences
