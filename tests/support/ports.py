"""A port that a program may listen on which was told of it before."""

from __future__ import annotations

import random
import socket
from pathlib import Path

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_port() -> int:
    """A port that is free at all addresses, and that no connection from here takes meanwhile by itself."""
    first_of_connections = int(_RANGE.read_text().split()[0])
    while True:
        port = random.randrange(first_of_connections // 2, first_of_connections)
        with socket.socket(socket.AF_INET6) as one:
            try:
                one.bind(("::", port))
            except OSError:
                continue
            return port
