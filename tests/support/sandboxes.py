"""Sandboxes over small trees, and plain walks of what they leave on disk."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from imaginator.sandbox.limits import Limits
from imaginator.sandbox.process import Exit, Tail, finish
from imaginator.sandbox.sandbox import Profile, Sandbox, Workspace
from tests.support.real_reactor import reactor
from tests.support.small_system import BOOTSTRAP_SCRIPT

ENVIRONMENT = {"PATH": "/bin", "GREETING": "hello"}
NO_LIMITS = Limits()


def small_tree(folder: Path) -> Path:
    """A busybox system in a new directory."""
    folder.mkdir(parents=True)
    subprocess.run(["sh", "-c", BOOTSTRAP_SCRIPT, "bootstrap", str(folder)], check=True)
    return folder


@asynccontextmanager
async def opened(
    workspace: Workspace,
    profile: Profile = Profile.MANIFEST,
    limits: Limits = NO_LIMITS,
) -> AsyncIterator[Sandbox]:
    """A sandbox that is closed at the end."""
    sandbox = await Sandbox.open(reactor, workspace, profile, limits)
    try:
        yield sandbox
    finally:
        await sandbox.close()


async def run(sandbox: Sandbox, script: str, **options: Any) -> tuple[Exit, str]:
    """How a shell script ended in the sandbox, and what it said."""
    tail = Tail(limit=1 << 20)
    child = sandbox.run(
        ["sh", "-c", script], ENVIRONMENT, output=tail, network=options.pop("network", False), **options
    )
    return await finish(child, timeout=60), tail.text()


def walk(root: Path) -> dict[bytes, tuple[Any, ...]]:
    """Every path of a tree with all that an image keeps of it, link counts included."""
    top = os.fsencode(root)
    below = (os.path.join(place, name) for place, dirs, files in os.walk(top) for name in dirs + files)
    return {path[len(top) :] or b"/": _described(path) for path in [top, *below]}


def _described(path: bytes) -> tuple[Any, ...]:
    status = os.lstat(path)
    attributes = {
        name: os.getxattr(path, name, follow_symlinks=False)
        for name in os.listxattr(path, follow_symlinks=False)
        if not name.startswith("trusted.overlay.")
    }
    content = Path(os.fsdecode(path)).read_bytes() if stat.S_ISREG(status.st_mode) else b""
    link = os.readlink(path) if stat.S_ISLNK(status.st_mode) else b""
    links = 0 if stat.S_ISDIR(status.st_mode) else status.st_nlink
    owner = (status.st_uid, status.st_gid)
    return (oct(status.st_mode), owner, status.st_mtime_ns, status.st_rdev, links, attributes, link, content)
