"""One minimal Debian, bootstrapped once and shared by every test and benchmark that needs a real system.

It is kept as a tar file in the user's cache folder, named after what it is made from: the command, the repositories
and the version of mmdebstrap; another mirror or release makes another file.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from demo.mirror import bootstrap_command
from demo.site import SAMPLE

ATTEMPTS = 4
_CLOSED = """set -e
{unpack}
rm -rf "$1"/etc/apt/sources.list.d/*
echo '{source}' > "$1/etc/apt/sources.list"
echo 'Acquire::http::Proxy "DIRECT";' > "$1/etc/apt/apt.conf.d/99direct"
"""


def base_tar(scratch: Path, packages: Sequence[str] = (), sample: Path = SAMPLE) -> Path:
    """The tar file of the tree, made now if the cache has none; ``scratch`` is a folder to make it in.

    With ``packages`` it is another tree, which has those too; so it is with another ``sample`` configuration, whose
    command makes it.
    """
    command = bootstrap_command(scratch / "debian.list", sample)
    if packages:
        command.insert(1, f"--include={','.join(sorted(packages))}")
    version = subprocess.run(["mmdebstrap", "--version"], check=True, capture_output=True, text=True).stdout
    sources = (scratch / "debian.list").read_text()
    ingredients = repr((command[:-1], sources, version))
    tar = cache_folder() / f"debian-{hashlib.sha256(ingredients.encode()).hexdigest()[:20]}.tar"
    if not tar.exists():
        make_tar(command, tar)
    return tar


def cache_folder() -> Path:
    """The project's folder in the user's cache, as the XDG base directory specification has it."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = root / "imaginator-tests"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def make_tar(command: list[str], tar: Path) -> None:
    """Run the bootstrap command into ``tar``, which appears whole or not at all; a mirror may fail a few times."""
    fresh = tar.with_name(f".{tar.stem}.{os.getpid()}.tar")
    argv = [word.replace("$dir", str(fresh)) for word in command]
    try:
        for attempt in range(ATTEMPTS):
            result = subprocess.run(argv, capture_output=True, text=True, check=False)
            if result.returncode == 0:
                fresh.rename(tar)
                return
            time.sleep(2**attempt)
        raise RuntimeError(f"{argv[0]} failed {ATTEMPTS} times: {result.stderr[-2000:]}")
    finally:
        fresh.unlink(missing_ok=True)


def unpack_command(tar: Path) -> list[str]:
    """A bootstrap command that makes the tree again in a second, without a mirror."""
    return [
        "tar",
        "--extract",
        "--file",
        str(tar),
        "--directory",
        "$dir",
        "--xattrs",
        "--xattrs-include=*",
        "--numeric-owner",
    ]


def closed_command(tar: Path, source: str, script: Path) -> list[str]:
    """The same for a Debian that knows one repository alone, by its line of sources.list(5); ``script`` is written."""
    unpack = " ".join('"$1"' if word == "$dir" else shlex.quote(word) for word in unpack_command(tar))
    script.write_text(_CLOSED.format(unpack=unpack, source=source.strip()))
    return ["sh", str(script), "$dir"]


def unpacked(tar: Path, folder: Path) -> Path:
    """The tree in a new folder, which is returned."""
    folder.mkdir()
    subprocess.run([word.replace("$dir", str(folder)) for word in unpack_command(tar)], check=True)
    return folder
