"""One package, installed twice without the sandbox and once in it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from twisted.internet.threads import deferToThread

from imaginator.build.construction import together
from imaginator.sandbox.limits import Limits
from imaginator.sandbox.process import Tail, finish
from imaginator.sandbox.sandbox import Bind, Profile, Sandbox, Workspace
from tests.packages.catalogue import ENVIRONMENT, Case
from tests.packages.debs import Debs
from tests.packages.plain import run
from tests.packages.trees import Seen, differences, see, written
from tests.packages.volatile import is_volatile
from tests.support.base_tree import base_tar, unpack_command
from tests.support.real_reactor import reactor

SECONDS = 900.0
NO_SERVICES = "#!/bin/sh\nexit 101\n"
"""The policy that images are built with: no script starts a service. The yardstick is the host's root."""


class Ground(NamedTuple):
    """The base tree that packages are installed over, their files, and a folder for the builds."""

    base: Path
    debs: Debs
    folder: Path


class Outcome(NamedTuple):
    """How many paths the package wrote, which of them no two installations have alike, and what differs."""

    case: Case
    paths: int
    random: list[str]
    differences: list[str]


def prepare(folder: Path) -> Ground:
    """Unpack the base tree in a new directory."""
    base = folder / "base"
    base.mkdir(parents=True)
    tar = base_tar(folder)
    subprocess.run([word.replace("$dir", str(base)) for word in unpack_command(tar)], check=True)
    policy = base / "usr" / "sbin" / "policy-rc.d"
    policy.write_text(NO_SERVICES)
    policy.chmod(0o755)
    return Ground(base, Debs(base, tar), folder)


def script_of(case: Case, debs: list[str]) -> str:
    """What is run, the same everywhere."""
    files = " ".join(f"/mnt/{name}" for name in debs)
    install = f"apt-get -q -y --no-install-recommends --reinstall install {files}"
    return "\n".join(["set -e", case.before, install, case.after])


async def compare(ground: Ground, case: Case) -> Outcome:
    """Install one package three times; raises RuntimeError where an installation fails."""
    folder = ground.folder / case.packages.replace(" ", "+").replace(":", "-")
    plain, again, sandboxed = builds = [folder / name for name in ("plain", "again", "sandboxed")]
    script = script_of(case, ground.debs.of(case))
    try:
        await together(install_plainly(ground, plain, script), install_sandboxed(ground, sandboxed, script))
        await install_plainly(ground, again, script)  # later: what tells the time is to differ
        changed = set().union(*(written(build / "upper") for build in builds))
        return judge(case, len(changed), *[await deferToThread(see, ground.base, build, changed) for build in builds])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def judge(case: Case, paths: int, plain: Seen, again: Seen, sandboxed: Seen) -> Outcome:
    """Compare three trees."""
    found = [str(each) for each in differences(plain, again, sandboxed) if not is_volatile(each)]
    random = [path for path in sorted(plain.keys() | again.keys()) if plain.get(path) != again.get(path)]
    return Outcome(case, paths, random, found)


async def install_plainly(ground: Ground, build: Path, script: str) -> None:
    """Run the script as the host's root."""
    await deferToThread(run, ground.base, build, ground.debs.folder, script, ENVIRONMENT)


async def install_sandboxed(ground: Ground, build: Path, script: str) -> None:
    """Run the script as a manifest's command."""
    tail = Tail(limit=3000)
    workspace = Workspace(build, (ground.base,))
    binds = [Bind(ground.debs.folder, b"/mnt")]
    sandbox = await Sandbox.open(reactor, workspace, Profile.MANIFEST, Limits())
    try:
        child = sandbox.run(["/bin/sh", "-c", script], ENVIRONMENT, network=False, output=tail, binds=binds)
        ended = await finish(child, timeout=SECONDS)
    finally:
        await sandbox.close()
    if not ended.ok:
        raise RuntimeError(f"in the sandbox: {ended.describe()}: {tail.text()}")
