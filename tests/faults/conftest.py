"""Crashes and faults: real daemons that lose what they stand on; what was tried is counted and printed.

While a fault lasts a `Watcher` asks for the status page: it has to be served throughout.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from demo.daemon import Daemon
from demo.site import Site
from tests.integration.conftest import new_site
from tests.support.faulty import Watcher
from tests.support.live import PROVING, Live
from tests.support.small_system import SMALL_PACKAGER, small_bootstrap


@contextmanager
def running(site: Site, *flags: str) -> Iterator[Live]:
    """A daemon of a site, which ends well and leaves nothing."""
    live = Live(site, Daemon(site, *PROVING, *flags))
    live.daemon.start()
    try:
        yield live
    finally:
        live.close()


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    """A daemon of the test's own, at a state directory that works."""
    site = new_site(tmp_path / "site")
    site.configure({"small": small_bootstrap(site.folder)}, {}, SMALL_PACKAGER)
    with running(site) as live:
        yield live


@pytest.fixture
def watched(live: Live) -> Iterator[Watcher]:
    """Asks for the daemon's status page all through the test."""
    with Watcher(live.daemon.url) as watcher:
        yield watcher
