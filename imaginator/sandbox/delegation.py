"""Where control groups of version 2 may be made: at the top, or below what systemd has lent to the daemon's unit.

The hierarchy is systemd's own, where it runs; a unit with ``Delegate=`` may divide its group, which systemd marks so
(its CGROUP_DELEGATION document). What is divided must have no processes of its own (cgroups(7)): those that are there,
the daemon, move into a group below.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")

_LENT = "trusted.delegate"
_INHABITED = "daemon"


def top() -> Path:
    """The group that this process may divide."""
    own = _own()
    candidates = (own.parent, own) if own.name == _INHABITED else (own,)
    return next((group for group in candidates if _is_lent(group)), ROOT)


def divide(group: Path, controllers: frozenset[str]) -> None:
    """Let the groups below a group have controllers, those of them that there are.

    One at a time, since Linux takes all or none: in a container the root may have processes, and then lends nothing.
    """
    if group != ROOT and _is_lent(group):
        _vacate(group)
    for name in controllers:
        with contextlib.suppress(OSError):
            (group / "cgroup.subtree_control").write_text(f"+{name}")


def _own() -> Path:
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    return ROOT / next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), "")


def _is_lent(group: Path) -> bool:
    try:
        return os.getxattr(group, _LENT) == b"1"
    except OSError:
        return False


def _vacate(group: Path) -> None:
    below = group / _INHABITED
    below.mkdir(exist_ok=True)
    for process in (group / "cgroup.procs").read_text().split():
        with contextlib.suppress(ProcessLookupError):
            (below / "cgroup.procs").write_text(process)
