"""Trees that are opened again after their holder has ended, as the kept trees of failed builds are."""

from __future__ import annotations

from pathlib import Path

import pytest
import pytest_twisted

from imaginator.sandbox.limits import Limits
from imaginator.sandbox.sandbox import Workspace
from tests.support.sandboxes import NO_LIMITS, opened, run, small_tree

CHANGE = """
echo changed > /etc/release; rm /bin/wget; busybox chmod 751 /; busybox chown 7:8 /etc/passwd
echo more >> /usr/share/linked; mkdir /new; rm -r /var; mkdir /var
"""
LOOK = """
cat /etc/release /usr/share/linked-too; busybox stat -c '%a %u %g %h %n' / /etc/passwd /usr/share/linked
ls /new /var /bin/wget 2>&1
"""


@pytest.mark.parametrize("limits", [NO_LIMITS, Limits(disk=64 << 20, inodes=5000)], ids=["plain", "own disk"])
@pytest.mark.parametrize("layered", [True, False], ids=["layers", "bootstrap"])
@pytest_twisted.ensureDeferred
async def test_what_was_changed_is_there_again(tmp_path: Path, limits: Limits, layered: bool) -> None:
    """A tree is what it was, as often as it is opened, moved elsewhere in between; what is written stays in it."""
    workspace = Workspace(tmp_path / "build", (small_tree(tmp_path / "source"),) if layered else ())
    if not layered:
        workspace = Workspace(tmp_path / "build")
        workspace.directory.mkdir()
        small_tree(workspace.upper)
        limits = NO_LIMITS
    async with opened(workspace, limits=limits) as sandbox:
        changed, _ = await run(sandbox, CHANGE)
        _, before = await run(sandbox, LOOK)
    (tmp_path / "build").rename(tmp_path / "kept")
    moved = workspace._replace(directory=tmp_path / "kept")
    seen = []
    for number in range(2):
        async with opened(moved, limits=limits) as sandbox:
            seen.append((await run(sandbox, LOOK))[1])
            added, _ = await run(sandbox, f"test ! -e /added{number} && echo {number} > /added{number}")
            assert added.ok

    assert changed.ok
    assert [before, before] == seen
    assert "\nmore\n751 0 0 " in before
