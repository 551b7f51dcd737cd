"""Names of processors: ``$ARCH`` has Go's, as the configurations of the original do."""

from __future__ import annotations

_NAMES = {"x86_64": "amd64", "aarch64": "arm64", "i386": "386", "i686": "386", "armv7l": "arm"}


def architecture(machine: str) -> str:
    """What ``$ARCH`` is on a machine that uname(2) calls ``machine``."""
    return _NAMES.get(machine, machine)
