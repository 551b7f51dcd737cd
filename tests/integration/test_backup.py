"""The backup that the documentation tells to make of a running daemon, and what is restored of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from demo.daemon import Daemon
from tests.integration.conftest import new_site
from tests.support.documented import blocks
from tests.support.live import PROVING, Live
from tests.support.small_system import SMALL_PACKAGER, small_bootstrap

pytestmark = pytest.mark.integration


def documented(state: Path, backup: Path) -> str:
    """The page's commands, for these folders."""
    (block,) = blocks("installing.rst", "Backup")
    return block.replace("/var/lib/imaginator", str(state)).replace("/backup", str(backup))


def test_a_backup_is_restored(tmp_path: Path) -> None:
    """Made while the daemon runs, it has all images; they can be built upon, and the check of the store is content."""
    site = new_site(tmp_path / "site")
    site.configure({"small": small_bootstrap(site.folder)}, {}, SMALL_PACKAGER)
    live = Live(site, Daemon(site, *PROVING))
    live.daemon.start()
    live.build("small")
    live.add_stream("over", {"manifest": '{"SourceImage": "small"}', "files/etc/greeting": "hello"})
    live.build("over")
    before = live.images()
    backup = tmp_path / "backup"
    backup.mkdir()
    subprocess.run(["sh", "-e", "-c", documented(site.state, backup)], check=True)
    live.build("over")
    live.daemon.stop()
    site.state.rename(tmp_path / "lost")
    backup.rename(site.state)
    site.state.chmod(0o700)
    check = [str(Path(sys.executable).with_name("imaginator")), *site.daemon_flags(), "--verify-store"]
    checked = subprocess.run(check, capture_output=True, text=True, timeout=120, check=False)
    again = Live(site, Daemon(site, *PROVING))
    again.daemon.start()
    try:
        restored = again.images()
        after = again.build("over")
        tree = tmp_path / "tree"
        again.tool("get-image", after["ImageName"], "-o", str(tree))
    finally:
        again.close()

    assert 0 == checked.returncode, checked.stdout + checked.stderr
    assert sorted(before) == sorted(restored)
    assert "succeeded" == after["State"]
    assert "hello" == (tree / "etc" / "greeting").read_text()
