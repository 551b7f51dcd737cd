"""Hostile input: each test is a pair of an entry point and a defect; how many there were, and the slowest, is printed.

A generator of many inputs of one kind counts as one defect. Each ends in one clear error or in a correct result, within
a time that only a hang takes.
"""

from __future__ import annotations

from pathlib import Path

import pytest

HANGS = 60
"""Seconds after which a test has hung."""

_HERE = Path(__file__).parent.name


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let no test of this folder hang."""
    for item in items:
        if item.path.parent.name == _HERE and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(HANGS))
