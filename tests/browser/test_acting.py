"""Somebody with a certificate in a real browser: builds by a button, watches, cancels, and sees why it ended."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver

from demo.daemon import Daemon
from tests.integration.conftest import new_site
from tests.integration.test_bad_input import OVER_SMALL
from tests.support.chromium import identified_chromium, text, until
from tests.support.live import PROVING, Live
from tests.support.small_system import SMALL_PACKAGER, small_bootstrap

pytestmark = pytest.mark.integration

COUNTS = "#!/bin/sh\nn=0\nwhile :\ndo\n    echo line $n\n    n=$((n+1))\n    sleep 0.2\ndone\n"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A daemon with a stream whose build does not end by itself."""
    site = new_site(tmp_path_factory.mktemp("acting") / "site")
    site.configure({"small": small_bootstrap(site.folder)}, {}, SMALL_PACKAGER)
    live = Live(site, Daemon(site, *PROVING))
    live.daemon.start()
    live.build("small")
    live.add_stream("web/endless", {"manifest": OVER_SMALL, "scripts/counts": COUNTS})
    yield live
    live.close()


@pytest.fixture
def user(live: Live, tmp_path: Path) -> Iterator[webdriver.Chrome]:
    """The browser of the user with full access."""
    with identified_chromium(tmp_path, live.site, "user") as browser:
        yield browser


def click(browser: webdriver.Chrome, selector: str) -> None:
    """Press a button as a reader does."""
    browser.find_element("css selector", selector).click()


def open_with(browser: webdriver.Chrome, address: str, selector: str) -> None:
    """Open a page as often as it takes to show something: the daemon may not have read a new stream yet."""

    def shows() -> bool:
        browser.get(address)
        return bool(browser.find_elements("css selector", selector))

    until(shows, f"{selector} at {address}")


def test_build_watch_and_cancel(live: Live, user: webdriver.Chrome) -> None:
    """From a stream's page to its build's, whose stages and log go on, until the button ends it; who did is told."""
    button = "form[action='/buildNow'] button"
    open_with(user, f"https://127.0.0.1:{live.daemon.port}/showImageStream?web/endless", button)
    click(user, button)
    until(lambda: "running" in text(user, "h1 .badge"), "running build")
    until(lambda: "scripts" in text(user, ".stage"), "stage of the scripts")
    until(lambda: "line 5\n" in text(user, ".log"), "line of the log")
    build = user.current_url.partition("?")[2]
    click(user, "form[action='/cancelBuild'] button")
    until(lambda: "cancelled" in text(user, "h1 .badge"), "end of the build")

    assert "cancelled by user" in text(user, ".notice.bad")
    assert "cancelled by user" in text(user, ".log")
    assert not user.find_elements("css selector", "form[action='/cancelBuild']")
    assert "cancelled" == live.call("Imaginator.GetBuild", BuildId=build)["State"]
    user.get(f"https://127.0.0.1:{live.daemon.port}/")
    assert "cancelled by user" in text(user, "#failed")
    severe = [entry for entry in user.get_log("browser") if entry["level"] == "SEVERE"]
    assert [] == [entry for entry in severe if "showImageStream" not in entry["message"]]


def test_a_stranger_has_no_button(live: Live, user: webdriver.Chrome) -> None:
    """Over plain HTTP the same browser is nobody, and is shown the command instead."""
    build = live.call("Imaginator.SubmitBuild", StreamName="web/endless", ExpiresIn=3600, MaxSourceAge=86400)["BuildId"]
    user.get(f"{live.daemon.url}showBuild?{build}")

    assert f"builder-tool cancel-build {build}" in text(user, "main")
    assert not user.find_elements("css selector", "form")
    live.call("Imaginator.CancelBuild", BuildId=build)


def test_downloads(live: Live, user: webdriver.Chrome) -> None:
    """The links of an image's page give the archives, to whoever is known."""
    user.get(f"https://127.0.0.1:{live.daemon.port}/showImage?{live.images('small')[-1]}")
    sizes = user.execute_async_script("""
        const tell = arguments[0];
        const links = [...document.querySelectorAll('a[href^="/getImage"]')];
        Promise.all(links.map((link) => fetch(link.href).then((answer) => answer.arrayBuffer())))
            .then((bodies) => tell(bodies.map((body) => body.byteLength)));
    """)

    assert 2 == len(sizes)
    assert 1000 < sizes[1] < sizes[0]
