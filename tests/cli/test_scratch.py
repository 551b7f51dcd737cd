"""Folders for what is half done, of commands that end and of those that are killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from imaginator.cli.scratch import PREFIX, scratch

HOLDS = """
import sys
from pathlib import Path
from imaginator.cli.scratch import scratch
with scratch(Path(sys.argv[1])) as folder:
    (folder / "half").write_text("done")
    print(folder, flush=True)
    sys.stdin.read()
"""


def holder(parent: Path) -> tuple[subprocess.Popen[str], Path]:
    """A process with a folder of its own, and the folder."""
    argv = [sys.executable, "-c", HOLDS, str(parent)]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_gone_afterwards(tmp_path: Path) -> None:
    """It is nobody else's, and goes with the work, however that ends."""
    modes = []

    def work() -> None:
        with scratch(tmp_path) as folder:
            modes.append(folder.stat().st_mode & 0o777)
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        work()

    assert ([0o700], []) == (modes, list(tmp_path.iterdir()))


def test_of_the_living_and_the_dead(tmp_path: Path) -> None:
    """What a process left that was killed goes with the next one; that of one which lives stays."""
    living, own = holder(tmp_path)
    dead, left = holder(tmp_path)
    dead.kill()
    dead.communicate()
    with scratch(tmp_path) as folder:
        found = {path: path.exists() for path in (own, left, folder)}
    living.communicate("")

    assert {own: True, left: False, folder: True} == found
    assert [] == list(tmp_path.iterdir())


def test_of_others(tmp_path: Path) -> None:
    """What only looks like one, a link or another user's directory, is left alone."""
    (tmp_path / "theirs").mkdir()
    (tmp_path / f"{PREFIX}link").symlink_to("theirs")
    others = tmp_path / f"{PREFIX}other"
    others.mkdir()
    os.chown(others, 65534, 65534)
    with scratch(tmp_path):
        pass

    assert {"theirs", f"{PREFIX}link", f"{PREFIX}other"} == {path.name for path in tmp_path.iterdir()}
