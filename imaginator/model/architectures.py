"""Names of processors: ``$ARCH`` has Go's, as the configurations of the original do."""

from __future__ import annotations

_NAMES = {"x86_64": "amd64", "aarch64": "arm64", "i386": "386", "i686": "386", "armv7l": "arm"}

_KNOWN = frozenset({"ppc64le", "riscv64", "s390x", *_NAMES, *_NAMES.values()})


def architecture(machine: str) -> str:
    """What ``$ARCH`` is on a machine that uname(2) calls ``machine``."""
    return _NAMES.get(machine, machine)


def foreign_architecture(stream: str, arch: str) -> str:
    """The architecture that a part of a stream's name names, where it is not ``arch``; empty for none."""
    named = [part for part in stream.split("/") if part in _KNOWN]
    return next((part for part in named if architecture(part) != arch), "")
