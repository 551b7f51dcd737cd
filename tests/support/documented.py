"""The commands of the documentation's pages, and a shell that they are typed in."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

LITERAL = re.compile(r"::\n\n((?:(?: {4}.*)?\n)+)")


def blocks(page: str, title: str = "") -> list[str]:
    """The literal blocks of a page, or of the section with a title, without their indent."""
    text = (DOCS / page).read_text()
    if title:
        start = re.search(rf"^{re.escape(title)}\n[-=]+\n", text, re.MULTILINE)
        assert start is not None, f"{page} has no section {title!r}"
        text = re.split(r"\n.+\n[-=]{3,}\n", text[start.end() :], maxsplit=1)[0]
    return [textwrap.dedent(block).strip("\n") + "\n" for block in LITERAL.findall(text + "\n")]


def typed(
    script: str, folder: Path, *, status: int = 0, shell: Sequence[str] = ("bash", "-c"), seconds: float = 240
) -> str:
    """What a shell's commands print, typed in a folder that is also its user's home.

    Whoever ends otherwise, or not at all, has all that was said, and the end of each log in the folder, told.
    """
    environment = {
        "HOME": str(folder),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "LANG": "C.UTF-8",
    }
    with subprocess.Popen(
        [*shell, f"set -ex; shopt -s expand_aliases\n{script}"],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        said, complaints = _listened(process, seconds)
    logs = [
        f"{path.name}: {path.read_text(errors='replace')[-4000:]}" for path in folder.rglob("*log") if path.is_file()
    ]
    assert status == process.returncode, "\n".join([said[-4000:], complaints[-6000:], *logs])
    return said


def _listened(process: subprocess.Popen[str], seconds: float) -> tuple[str, str]:
    """What a process says; it and all of its session that stands in the way of an end are ended in time."""
    try:
        return process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(process.pid, number)
                return process.communicate(timeout=20)
        raise
