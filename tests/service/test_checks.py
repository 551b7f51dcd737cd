"""What the daemon needs of its host is asked for at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor

from imaginator.model.errors import ConfigurationError
from imaginator.sandbox.limits import Limits
from imaginator.sandbox.policy import Policy
from imaginator.service.checks import check_host, check_sandbox, unlimited

LIMITS = Limits(memory=1 << 30, processes=100, disk=32 << 20, inodes=2000)


def test_this_host_will_do() -> None:
    """Nothing is wrong here."""
    check_host()


def test_a_missing_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first that is not on the path is named."""
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(ConfigurationError, match="^imaginator: program not found: git$"):
        check_host()


def test_another_user_than_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence says why it must be root."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    with pytest.raises(ConfigurationError, match="must run as root"):
        check_host()


@pytest_twisted.ensureDeferred
async def test_a_sandbox_opens_and_leaves_nothing(tmp_path: Path) -> None:
    """The real one is tried, on the file system of the builds."""
    await check_sandbox(reactor, tmp_path, LIMITS)  # type: ignore[arg-type]

    assert [] == list(tmp_path.iterdir())


@pytest_twisted.ensureDeferred
async def test_what_a_sandbox_lacks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A filter that the kernel does not take, a disk that cannot be made: there is no sandbox without them."""
    lame = Policy(b"no program", {})
    monkeypatch.setattr("imaginator.sandbox.sandbox.policy", lambda: lame)
    with pytest.raises(ConfigurationError, match="^no sandbox: sandbox: seccomp: Invalid argument"):
        await check_sandbox(reactor, tmp_path, LIMITS)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="^no sandbox: .*mkfs.ext4 failed: .*inode"):
        await check_sandbox(reactor, tmp_path, LIMITS._replace(inodes=10**10))  # type: ignore[arg-type]

    assert [] == list(tmp_path.iterdir())


def test_limits_that_this_host_cannot_keep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is told of by its controller; what nobody asked for is not."""
    monkeypatch.setattr("imaginator.service.checks.available", lambda: ["memory"])

    assert ["this host has no control groups for pids: it is not limited in builds"] == unlimited(LIMITS)
