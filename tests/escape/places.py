"""Where probes run: in a sandbox as builds have it, behind the original's chroot, and in a bare chroot."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from imaginator.sandbox.limits import Limits
from imaginator.sandbox.process import finish
from imaginator.sandbox.sandbox import Bind, Profile, Sandbox, Workspace
from tests.escape.baits import Baits
from tests.escape.inside.__main__ import MODULES as _MODULES
from tests.escape.inside.probing import ORIGINAL, PIVOTED, PLAIN, PROBES, SANDBOX, Result
from tests.escape.left import LOOKS, View, outlived
from tests.support.real_reactor import reactor

assert _MODULES  # they are what makes PROBES
LIMITS = Limits(memory=192 << 20, processes=200, disk=128 << 20, inodes=10_000)
"""Less than the probes that exhaust something try to take."""

SHARE = "/host-share"
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH": SHARE, "PYTHONDONTWRITEBYTECODE": "1"}
_PIVOT = 'mount --rbind "$0" "$0" && cd "$0" && pivot_root . . && umount --lazy . && exec "$@"'
_BEFORE = {
    ORIGINAL: ["unshare", "--mount", "--pid", "--fork", "chroot"],
    PLAIN: ["chroot"],
    PIVOTED: ["unshare", "--mount", "sh", "-c", _PIVOT],
}
"""What precedes the tree and the command."""

_SECONDS = 300


def _command(names: Sequence[str]) -> list[str]:
    return ["/usr/bin/python3", "-m", "tests.escape.inside", f"{SHARE}/world.json", *names]


def _commands(names: Sequence[str]) -> list[list[str]]:
    """The probes of one command first, then those that need one each."""
    together = [name for name in names if not PROBES[name].alone]
    return [each for each in [together, *([name] for name in names if PROBES[name].alone)] if each]


def _results(names: Sequence[str], output: str, ended: str) -> Iterator[Result]:
    """What a command told, and a result for each probe of which it told nothing, because it was killed."""
    told = {}
    for line in output.splitlines():
        if line.startswith("["):
            result = Result(*json.loads(line))
            told[result.name] = result
    for name in names:
        yield told.get(name) or Result(name, "blocked" if PROBES[name].alone else "broken", f"{ended}: {output[-300:]}")


async def in_sandbox(baits: Baits, tree: Path, names: Sequence[str]) -> AsyncIterator[Result]:
    """Try probes in a sandbox over the tree, with network."""
    workspace = Workspace(baits.folder / "state/build", (tree,))
    binds = [Bind(baits.share, SHARE.encode())]
    sandbox = await Sandbox.open(reactor, workspace, Profile.MANIFEST, LIMITS)
    try:
        await sandbox.tree.make_mount_points([SHARE.encode()])
        for each in _commands(names):
            said = bytearray()
            child = sandbox.run(_command(each), ENVIRONMENT, network=True, output=said.extend, binds=binds)
            ended = await finish(child, timeout=_SECONDS)
            for result in _results(each, said.decode(errors="replace"), ended.describe()):
                yield await _looked_at(result, _view(baits, sandbox, workspace))
    finally:
        await sandbox.close()
    if "process-left-behind" in names and (words := await outlived(_view(baits, sandbox, workspace))):
        yield Result("process-left-behind", "reached", words)


def _view(baits: Baits, sandbox: Sandbox, workspace: Workspace) -> View:
    async def read(path: bytes) -> bytes | None:
        return await sandbox.tree.read(path, 1 << 16)

    return View(baits, workspace.upper, read, sandbox.tree.write)


async def in_chroot(place: str, baits: Baits, tree: Path, names: Sequence[str]) -> AsyncIterator[Result]:
    """Try probes in the tree itself, `ORIGINAL`, `PLAIN` or `PIVOTED`, with the host's network."""
    view = View(baits, tree, _reader(tree), _writer(tree))
    with _furnished(tree, baits.share):
        for each in _commands(names):
            argv = [*_BEFORE[place], str(tree), *_command(each)]
            ended = subprocess.run(
                argv,
                env={**os.environ, **ENVIRONMENT},
                stdin=baits.terminal,
                capture_output=True,
                pass_fds=[baits.directory],
                timeout=_SECONDS,
                check=False,
            )
            output = (ended.stdout + ended.stderr).decode(errors="replace")
            for result in _results(each, output, f"status {ended.returncode}"):
                yield await _looked_at(result, view)


@contextmanager
def _furnished(tree: Path, share: Path) -> Iterator[None]:
    """/proc, /sys and the bound directory, as the original mounts them before it changes roots."""
    mounts = {"proc": ["-t", "proc", "proc"], "sys": ["--rbind", "/sys"], SHARE.strip("/"): ["--bind", str(share)]}
    for name, words in mounts.items():
        (tree / name).mkdir(exist_ok=True)
        subprocess.run(["mount", "--make-private", *words, str(tree / name)], check=True)
    try:
        yield
    finally:
        for name in mounts:
            subprocess.run(["umount", "--lazy", str(tree / name)], check=True)
        for path in ("left-behind", "hard-link", "below", "mount-seen-outside"):
            _remove(tree / path)


def _remove(path: Path) -> None:
    subprocess.run(["umount", "--quiet", "--lazy", str(path)], check=False, stderr=subprocess.DEVNULL)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _reader(tree: Path) -> Callable[[bytes], Awaitable[bytes | None]]:
    async def read(path: bytes) -> bytes:
        return Path(tree, os.fsdecode(path).lstrip("/")).read_bytes()

    return read


def _writer(tree: Path) -> Callable[[bytes, bytes], Awaitable[None]]:
    async def write(path: bytes, data: bytes) -> None:
        Path(tree, os.fsdecode(path).lstrip("/")).write_bytes(data)

    return write


async def _looked_at(result: Result, view: View) -> Result:
    """The result itself, or where something was left behind, what it came to."""
    if result.outcome != "left":
        return result
    words = await LOOKS[result.name](view)
    return Result(result.name, "reached" if words else "blocked", f"{result.detail}: {words or 'nothing came of it'}")


RUNS = {
    SANDBOX: in_sandbox,
    ORIGINAL: lambda baits, tree, names: in_chroot(ORIGINAL, baits, tree, names),
    PLAIN: lambda baits, tree, names: in_chroot(PLAIN, baits, tree, names),
    PIVOTED: lambda baits, tree, names: in_chroot(PIVOTED, baits, tree, names),
}
