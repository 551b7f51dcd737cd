"""What the daemon needs of its host, told in one sentence when it is not there."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path
from typing import IO

from imaginator.model.errors import BuildFailed, ConfigurationError
from imaginator.sandbox.enter import NOT_FOUND
from imaginator.sandbox.limits import Limits, available
from imaginator.sandbox.network import missing
from imaginator.sandbox.process import Reactor, Tail
from imaginator.sandbox.sandbox import Profile, Sandbox, Workspace

PROGRAMS = ("git", "env", "prlimit", "rm", "setpriv", "setsid")


def check_host() -> None:
    """Raise `ConfigurationError` unless this process is root and the programs are there."""
    if os.geteuid() != 0:
        raise ConfigurationError("imaginator", "must run as root: it mounts and makes files of every owner")
    for program in PROGRAMS:
        if shutil.which(program) is None:
            raise ConfigurationError("imaginator", f"program not found: {program}")
    for problem in missing():
        raise ConfigurationError("imaginator", f"builds would have no network: {problem}")


def locked(path: Path) -> IO[str]:
    """The open lock file of a state directory, held as long as it is open; raises `ConfigurationError` if another is.

    Two on one directory would remove each other's running builds.
    """
    file = path.open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise ConfigurationError(str(path.parent), "another imaginator or builder-tool uses this directory") from None
    return file


async def check_sandbox(reactor: Reactor, folder: Path, limits: Limits) -> None:
    """Confine a command below ``folder``, on the file system of the builds, with all that a build's has.

    Raises `ConfigurationError` with what the host lacks.
    """
    place = folder / "check"
    layer = place / "layer"
    for name in ("proc", "sys", "dev"):
        (layer / name).mkdir(parents=True)
    words = Tail()
    try:
        sandbox = await Sandbox.open(reactor, Workspace(place, (layer,)), Profile.MANIFEST, limits)
        try:
            ended = await sandbox.run(["/nothing"], {}, network=True, output=words).wait()
        finally:
            await sandbox.close()
    except BuildFailed as error:
        raise ConfigurationError("no sandbox", str(error)) from None
    finally:
        shutil.rmtree(place)
    # There is no such program: whoever could not be confined never looked for it.
    if ended.code != NOT_FOUND:
        raise ConfigurationError("no sandbox", words.text() or ended.describe())


def unlimited(limits: Limits) -> list[str]:
    """A sentence for each of the limits that this host's kernel cannot keep."""
    wanted = {"memory": limits.memory, "pids": limits.processes, "cpu": limits.cpu_weight}
    lacking = [controller for controller in wanted if wanted[controller] and controller not in available()]
    return [f"this host has no control groups for {controller}: it is not limited in builds" for controller in lacking]
