"""One small daemon for all abuse of its port, and what it is like before."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from demo.daemon import Daemon
from tests.abuse.normal import Idle, at_rest
from tests.integration.conftest import new_site
from tests.support.live import PROVING, Live
from tests.support.small_system import SMALL_PACKAGER, small_bootstrap


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A daemon with an image to build on."""
    site = new_site(tmp_path_factory.mktemp("abused") / "site")
    site.configure({"small": small_bootstrap(site.folder)}, {}, SMALL_PACKAGER)
    live = Live(site, Daemon(site, *PROVING))
    live.daemon.start()
    live.build("small")
    yield live
    live.close()


@pytest.fixture(scope="session")
def idle(live: Live) -> Idle:
    """The daemon before anybody abuses it."""
    return at_rest(live)
