"""Systems bootstrapped from nothing as operators do it: ``python -m tests.packages.bootstraps``.

The command runs in the bootstrap profile. Each is proved by a program of the new tree, run as a manifest's command.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from twisted.internet.defer import ensureDeferred
from twisted.internet.task import react

from demo.mirror import SUITE, apt_options, repositories
from imaginator.build.environment import FIXED
from imaginator.sandbox.limits import Limits
from imaginator.sandbox.process import Tail, finish
from imaginator.sandbox.sandbox import Profile, Sandbox, Workspace
from tests.support.base_tree import ATTEMPTS
from tests.support.real_reactor import reactor
from tests.support.rpm_repository import HEAD, definition, make_index, make_packages, package

SECONDS = 900.0
NEXT = "trixie"
_GREETER = """
%install
mkdir -p %{buildroot}/bin %{buildroot}/srv/greeter %{buildroot}/proc %{buildroot}/sys %{buildroot}/dev
cp "$(command -v busybox)" %{buildroot}/bin/busybox
ln -s busybox %{buildroot}/bin/sh
ln -s busybox %{buildroot}/bin/cat
echo hello > %{buildroot}/srv/greeter/words
touch %{buildroot}/srv/greeter/able %{buildroot}/srv/greeter/elevated
%post
echo installed > /srv/greeter/state
/bin/busybox chown 12:34 /srv/greeter/words
%files
/bin/busybox
/bin/sh
/bin/cat
%dir /proc
%dir /sys
%dir /dev
%attr(0640, root, root) /srv/greeter/words
%attr(4755, root, root) /srv/greeter/elevated
%caps(cap_net_raw=ep) /srv/greeter/able
"""


class Bootstrap(NamedTuple):
    """A command that fills the directory ``$dir``, and one of the new system that shows it is there."""

    name: str
    command: list[str]
    proof: list[str]


def debian() -> list[Bootstrap]:
    """debootstrap and mmdebstrap, for this Debian and the next; from the mirror that the host's apt knows."""
    mirror = next(repository.uri for repository in repositories() if repository.suite == SUITE)
    proof = ["dpkg-query", "--show", "apt", "libc6"]
    commands = {
        "debootstrap": ["debootstrap", "--variant=minbase"],
        "mmdebstrap": ["mmdebstrap", "--quiet", "--variant=minbase", "--mode=root", *apt_options()],
    }
    return [
        Bootstrap(f"{tool} {suite}", [*command, suite, "$dir", mirror], proof)
        for tool, command in commands.items()
        for suite in (SUITE, NEXT)
    ]


def dnf(folder: Path) -> Bootstrap:
    """dnf on a repository of one package, made here: no network is needed."""
    made = folder / "repository"
    made.mkdir(parents=True)
    make_packages(folder, f"{HEAD}{package('greeter')}{_GREETER}", made)
    make_index(made)
    configuration = folder / "dnf.conf"
    configuration.write_text(f"[main]\n{definition(made.as_uri())}")
    options = ["--installroot=$dir", "--releasever=1", f"--config={configuration}", "--setopt=reposdir=/nowhere"]
    command = ["dnf", "-y", "-q", *options, f"--setopt=cachedir={folder / 'cache'}", "install", "greeter"]
    return Bootstrap("dnf --installroot", command, ["cat", "/srv/greeter/words", "/srv/greeter/state"])


async def bootstrap(wanted: Bootstrap, directory: Path) -> str:
    """Fill a new workspace; what the proof says. Raises RuntimeError with the last words of what fails."""
    workspace = Workspace(directory)
    command = [word.replace("$dir", str(workspace.upper)) for word in wanted.command]
    await _run(workspace, Profile.BOOTSTRAP, command, network=True)
    return await _run(workspace, Profile.MANIFEST, wanted.proof, network=False)


async def _run(workspace: Workspace, profile: Profile, command: Sequence[str], network: bool) -> str:
    tail = Tail(limit=3000)
    sandbox = await Sandbox.open(reactor, workspace, profile, Limits())
    try:
        ended = await finish(sandbox.run(command, FIXED, network=network, output=tail), timeout=SECONDS)
    finally:
        await sandbox.close()
    if not ended.ok:
        raise RuntimeError(f"{command[0]}: {ended.describe()}: {tail.text()}")
    return tail.text()


def main() -> None:
    """Print how each goes; ends the process, with status 1 where one fails."""
    react(lambda _reactor: ensureDeferred(_all(sys.argv[1:])))


async def _all(words: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory(prefix="bootstraps-") as folder:
        every = [dnf(Path(folder) / "rpm"), *debian()]
        wanted = [each for each in every if not words or any(word in each.name for word in words)]
        failed = [each.name for each in wanted if not await _works(each, Path(folder))]
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


async def _works(wanted: Bootstrap, folder: Path) -> bool:
    """Print one line; a mirror may fail a few times."""
    begun = time.monotonic()
    for attempt in range(ATTEMPTS):
        try:
            said = await bootstrap(wanted, folder / f"{wanted.name.replace(' ', '-')}-{attempt}")
        except RuntimeError as error:
            failure = error
            continue
        print(f"{wanted.name:24} works {time.monotonic() - begun:4.0f} s: {' '.join(said.split())}", flush=True)
        return True
    print(f"{wanted.name:24} failed: {failure}", flush=True)
    return False


if __name__ == "__main__":
    main()
