"""``imaginator --verify-store`` in a process of its own, on a store that real builds filled."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.daemon import Daemon
from demo.site import Site
from tests.integration.conftest import new_site
from tests.integration.test_bad_input import OVER_SMALL
from tests.support.live import PROVING, Live, leftovers
from tests.support.small_system import SMALL_PACKAGER, small_bootstrap

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A daemon that has built an image over another one."""
    site = new_site(tmp_path_factory.mktemp("verified") / "site")
    live = Live(site, Daemon(site, *PROVING))
    site.configure({"small": small_bootstrap(site.folder)}, {}, SMALL_PACKAGER)
    live.daemon.start()
    live.add_stream("upon", {"manifest": OVER_SMALL, "files/etc/upon": "upon"})
    live.build("upon")
    yield live
    live.close()


def verify(site: Site, *flags: str) -> subprocess.CompletedProcess[str]:
    """Run the check with the site's flags."""
    argv = [str(Path(sys.executable).with_name("imaginator")), *site.daemon_flags(), *flags, "--verify-store"]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)


def test_a_store_in_use(live: Live) -> None:
    """The daemon that uses it goes on, and the check is refused in one sentence."""
    result = verify(live.site)

    assert (1, "") == (result.returncode, result.stdout)
    assert [f"imaginator: {live.site.state}: another imaginator or builder-tool uses this directory"] == (
        result.stderr.splitlines()
    )


def test_no_store(live: Live, tmp_path: Path) -> None:
    """A state directory that is not there, or empty, is named, and nothing is made."""
    for place in (tmp_path / "nowhere", tmp_path):
        result = verify(live.site, "--state-dir", str(place))

        assert (1, 1) == (result.returncode, len(result.stderr.splitlines()))
        assert str(place) in result.stderr
    assert [] == list(tmp_path.iterdir())


def test_check_repair_and_loss(live: Live) -> None:
    """A whole store and a repaired one end with 0, one that stays damaged with 1; the daemon starts again on it."""
    live.daemon.stop()
    try:
        whole = verify(live.site)
        path = min((live.site.state / "objects").glob("*/*"))
        path.write_bytes(b"rubbish")
        repaired = verify(live.site)
        again = verify(live.site)
        path.write_bytes(b"rubbish")
        for tree in (live.site.state / "layers").iterdir():
            tree.rename(live.site.folder / tree.name)
        lost = verify(live.site)
        for tree in live.site.folder.glob("*/tree"):
            tree.parent.rename(live.site.state / "layers" / tree.parent.name)
        mended = verify(live.site)
        left = leftovers(live.site)
    finally:
        live.daemon.start()

    for result in (whole, again):
        assert (0, "") == (result.returncode, result.stderr)
        assert 1 == len(result.stdout.splitlines())
        assert result.stdout.startswith("checked 2 images, ")
        assert result.stdout.endswith("all is well\n")
    for result in (repaired, mended):
        assert 0 == result.returncode
        assert result.stdout.startswith(f"repaired: object {path.parent.name}{path.name} ")
        assert result.stdout.endswith(": 1 repaired\n")
    assert 1 == lost.returncode
    assert f"damaged: object {path.parent.name}{path.name} is lost" in lost.stdout
    assert [] == left


def test_a_catalogue_that_is_none(live: Live, tmp_path: Path) -> None:
    """One sentence."""
    (tmp_path / "catalogue.sqlite").write_text("not a database at all" * 100)
    result = verify(live.site, "--state-dir", str(tmp_path))

    assert 1 == result.returncode
    assert [f"imaginator: {tmp_path}/catalogue.sqlite: file is not a database"] == result.stderr.splitlines()
