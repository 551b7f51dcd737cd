"""What the daemon needs of its host, told in one sentence when it is not there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from imaginator.model.errors import BuildFailed, ConfigurationError
from imaginator.sandbox.limits import Limits
from imaginator.sandbox.process import Reactor
from imaginator.sandbox.sandbox import Profile, Sandbox, Workspace

PROGRAMS = ("git", "rm", "setpriv", "setsid")


def check_host(image_server: str) -> None:
    """Raise `ConfigurationError` unless this process is root, the programs are there and the store can be served."""
    if os.geteuid() != 0:
        raise ConfigurationError("imaginator", "must run as root: it mounts and makes files of every owner")
    for program in PROGRAMS:
        if shutil.which(program) is None:
            raise ConfigurationError("imaginator", f"program not found: {program}")
    if image_server:
        problem = "this version cannot use a remote image server; leave the flag out for the embedded store"
        raise ConfigurationError(f"--image-server-hostname {image_server}", problem)


async def check_sandbox(reactor: Reactor, folder: Path) -> None:
    """Open a sandbox below ``folder``, on the file system of the builds; raises `ConfigurationError`."""
    place = folder / "check"
    layer = place / "layer"
    layer.mkdir(parents=True)
    try:
        sandbox = await Sandbox.open(reactor, Workspace(place, (layer,)), Profile.MANIFEST, Limits())
        await sandbox.close()
    except BuildFailed as error:
        raise ConfigurationError("no sandbox", str(error)) from None
    finally:
        shutil.rmtree(place)
