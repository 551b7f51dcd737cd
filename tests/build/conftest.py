"""What tests of builds share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.house import House, open_house


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """An engine with an empty store; afterwards nothing runs, is mounted or lies in the workspaces."""
    with open_house(tmp_path) as house:
        yield house
