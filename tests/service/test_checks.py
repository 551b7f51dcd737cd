"""What the daemon needs of its host is asked for at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor

from imaginator.model.errors import ConfigurationError
from imaginator.service.checks import check_host, check_sandbox


def test_this_host_will_do() -> None:
    """Nothing is wrong here."""
    check_host("")


def test_a_missing_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first that is not on the path is named."""
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(ConfigurationError, match="^imaginator: program not found: git$"):
        check_host("")


def test_another_user_than_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence says why it must be root."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    with pytest.raises(ConfigurationError, match="must run as root"):
        check_host("")


def test_a_remote_image_server() -> None:
    """It is refused, not replaced."""
    with pytest.raises(ConfigurationError, match=r"images\.example\.com"):
        check_host("images.example.com")


@pytest_twisted.ensureDeferred
async def test_a_sandbox_opens_and_leaves_nothing(tmp_path: Path) -> None:
    """The real one is tried, on the file system of the builds."""
    await check_sandbox(reactor, tmp_path)  # type: ignore[arg-type]

    assert [] == list(tmp_path.iterdir())
