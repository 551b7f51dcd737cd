"""A socket that systemd listens on for the daemon, known by its name (sd_listen_fds(3), systemd.socket(5))."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from imaginator.model.errors import ConfigurationError

NAME = "imaginator"
"""What the socket's unit calls it: ``FileDescriptorName``, or the name of the unit."""

_FIRST = 3
"""The first descriptor that systemd hands over."""


def inherited_socket() -> socket.socket | None:
    """The socket of that name, ours from now on, and of no program that is started; None where there is none.

    Raises `ConfigurationError` for sockets with other names, and for one that no connection can be taken from.
    """
    names = _names()
    if not names:
        return None
    ours = next((place for place, name in enumerate(names) if name.removesuffix(".socket") == NAME), None)
    if ours is None:
        raise ConfigurationError("sockets of systemd", f"none is called {NAME}, only: {', '.join(names)}")
    descriptor = _FIRST + ours
    os.set_inheritable(descriptor, False)
    inherited = socket.socket(fileno=descriptor)
    inherited.setblocking(False)
    tcp = inherited.family in (socket.AF_INET, socket.AF_INET6) and inherited.type == socket.SOCK_STREAM
    if not tcp or not inherited.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise ConfigurationError(f"socket {NAME} of systemd", "expected a listening TCP socket: ListenStream=6975")
    return inherited


def _names() -> list[str]:
    """The sockets' names, in the order of their descriptors."""
    # What this process was started with: Twisted's endpoints, once imported, have taken it out of `os.environ`.
    pairs = (word.partition("=") for word in Path("/proc/self/environ").read_text(errors="replace").split("\0"))
    given = {name: value for name, _, value in pairs}
    names = given.get("LISTEN_FDNAMES", "")
    return names.split(":") if names and given.get("LISTEN_PID") == str(os.getpid()) else []
