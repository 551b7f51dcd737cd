"""What probes left behind, looked at from the host's side: whether it reaches the host after all."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

from tests.escape.baits import Baits
from tests.escape.inside.probing import MARK

NOBODY = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "env"]
"""setpriv(1) has root's capabilities still when it executes a program; what env(1) executes has none to begin with."""


class View(NamedTuple):
    """A place as the host sees it: its tree on disk, and how the daemon reads and writes a file of the tree."""

    baits: Baits
    root: Path
    read: Callable[[bytes], Awaitable[bytes | None]]
    write: Callable[[bytes, bytes], Awaitable[None]]


Look = Callable[[View], Awaitable[str]]


async def _mount(view: View) -> str:
    return "the host sees the mount" if "mount-seen-outside" in Path("/proc/self/mountinfo").read_text() else ""


async def _node(view: View) -> str:
    return "nobody read the disk" if MARK in _as_nobody("head", "--bytes=2000000", _path(view, "disk")) else ""


async def _set_id(view: View) -> str:
    return "nobody became root" if _as_nobody(_path(view, "id"), "-u").strip() == b"0" else ""


async def _capable(view: View) -> str:
    return "nobody read the secret" if MARK in _as_nobody(_path(view, "cat"), view.baits.world.secret) else ""


def _path(view: View, name: str) -> str:
    return str(view.root / "left-behind" / name)


def _as_nobody(*argv: str) -> bytes:
    return subprocess.run([*NOBODY, *argv], capture_output=True, check=False, cwd="/").stdout


async def _link_read(view: View) -> str:
    return "the daemon read the secret" if MARK in (await view.read(b"/left-behind/link") or b"") else ""


async def _link_written(view: View) -> str:
    try:
        await view.write(b"/left-behind/folder/written", b"x")
    except Exception:
        return ""
    return "the daemon wrote beside the secret" if (view.baits.secrets / "written").exists() else ""


def _signalled(number: int) -> Look:
    async def look(view: View) -> str:
        return "the host's process got it" if (view.baits.secrets / f"signalled-{number}").exists() else ""

    return look


async def _named(view: View) -> str:
    return "the host is called so" if socket.gethostname() == "escaped" else ""


async def _domain(view: View) -> str:
    return "the host's domain is called so" if "escaped" in Path("/proc/sys/kernel/domainname").read_text() else ""


async def outlived(view: View) -> str:
    """Whether processes of the place are there after its end; they end now."""
    found = ""
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            if Path("/proc", name, "comm").read_text().strip() == "left-behind":
                os.kill(int(name), signal.SIGKILL)
                found = "it was there after the end"
        except OSError:
            continue
    return found


LOOKS: dict[str, Look] = {
    "mount-seen-outside": _mount,
    "node-left-behind": _node,
    "set-id-left-behind": _set_id,
    "capable-left-behind": _capable,
    "link-for-the-daemon": _link_read,
    "link-for-the-daemons-writing": _link_written,
    "signal-sent": _signalled(signal.SIGUSR1),
    "signal-by-descriptor": _signalled(signal.SIGUSR2),
    "host-named": _named,
    "domain-named": _domain,
    "process-left-behind": outlived,
}
"""By probe; each returns what was reached, or nothing."""
