"""Readiness for systemd: a datagram to the socket that it names (sd_notify(3))."""

from __future__ import annotations

import os
import socket


def notify(state: str) -> None:
    """Tell systemd, if it asked; ``READY=1`` once the port is open, ``STOPPING=1`` at the end."""
    name = os.environ.get("NOTIFY_SOCKET", "")
    if not name:
        return
    address = "\0" + name[1:] if name.startswith("@") else name
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.sendto(state.encode(), address)
