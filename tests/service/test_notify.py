"""What systemd is told."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from imaginator.service.notify import notify


def test_systemd_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One datagram to the socket that the environment names."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        notify("READY=1")

        assert b"READY=1" == receiver.recv(100)


def test_nobody_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without systemd nothing happens."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify("READY=1")
