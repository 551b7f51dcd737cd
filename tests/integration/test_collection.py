"""What a killed daemon left, and what images that are gone needed, goes at the next start of the daemon."""

from __future__ import annotations

from pathlib import Path

import pytest

from demo.daemon import Daemon
from tests.integration.conftest import new_site
from tests.integration.test_bad_input import OVER_SMALL, poll
from tests.integration.test_verify_store import verify
from tests.support.live import PROVING, Live
from tests.support.small_system import SMALL_PACKAGER, small_bootstrap

pytestmark = pytest.mark.integration


def test_nothing_without_an_owner_outlives_the_next_start(tmp_path: Path) -> None:
    """Objects and layers without an image, however young; afterwards the check of the store finds none of them."""
    site = new_site(tmp_path / "site")
    live = Live(site, Daemon(site, *PROVING))
    site.configure({"small": small_bootstrap(site.folder)}, {}, SMALL_PACKAGER)
    live.daemon.start()
    stream = live.add_stream("upon", {"manifest": OVER_SMALL, "files/etc/upon": "upon"})
    doomed = live.build(stream)["ImageName"]
    whole = set(site.state.glob("objects/*/*")) | set(site.state.glob("layers/*"))
    live.tool("delete-image", doomed)
    left = site.state / "objects" / "00" / ("0" * 126)
    left.parent.mkdir(exist_ok=True)
    left.write_bytes(b"left")
    live.daemon.kill()
    before = verify(site)
    (site.state / "layers" / "left" / "tree").mkdir(parents=True)
    live.daemon.start()
    poll(lambda: len(list(site.state.glob("layers/*"))) == 1, "the first collection, which ends with the layers")
    live.close()
    after = verify(site)

    assert "needed by no image" in before.stdout
    assert (0, True) == (after.returncode, "all is well" in after.stdout)
    assert "needed by no image" not in after.stdout
    assert {*site.state.glob("objects/*/*"), *site.state.glob("layers/*")} < whole
