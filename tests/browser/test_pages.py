"""The pages in a real browser, over a real daemon that builds: they move, stand what is hostile, and are accessible.

Nothing that a page does may leave the host, write an error to the console, or run a script that is not ours.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from selenium import webdriver

from demo.daemon import Daemon
from tests.integration.conftest import new_site
from tests.integration.test_bad_input import OVER_SMALL, wait_for_text
from tests.support.chromium import chromium, text, until
from tests.support.live import PROVING, Live
from tests.support.node import node_modules
from tests.support.small_system import SMALL_PACKAGER, small_bootstrap
from tests.web.test_metrics import ETC, promtool

pytestmark = pytest.mark.integration

NASTY = "<script>alert(1)</script>\"&'><img src=x onerror=alert(1)>"
SAYS = f"""#!/bin/sh
printf 'plain\\n\\033[31mred\\033[0m and \\033]0;title\\007more\\n'
cat <<'END'
{NASTY}
END
"""
FAILS = f"#!/bin/sh\ncat >&2 <<'END'\n{NASTY}\nEND\nexit 3\n"
COUNTS = "#!/bin/sh\nn=0\nwhile [ $n -lt 100 ]\ndo\n    echo line $n\n    n=$((n+1))\n    sleep 0.2\ndone\n"
LONG = "#!/bin/sh\nn=0\nwhile [ $n -lt 3000 ]\ndo\n    echo line $n of more than a page has\n    n=$((n+1))\ndone\n"
FLOOD = "#!/bin/sh\nsleep 4\n/bin/busybox seq 1000000 3000000\nsleep 1\necho the last line\n"
TOO_WIDE = """
if (document.documentElement.scrollWidth <= window.innerWidth) return [];
return [...document.querySelectorAll("main *, header *, footer *")]
  .filter((element) => element.getBoundingClientRect().right > window.innerWidth)
  .map((element) => element.outerHTML.slice(0, 100));
"""
FILES = {
    "manifest": OVER_SMALL,
    "files/etc/<script>alert(1)<": "x\n",
    "tags.json": json.dumps({"<b>": NASTY}),
    "scripts/says": SAYS,
}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A daemon with images, a build that failed, and streams of odd contents."""
    site = new_site(tmp_path_factory.mktemp("browser") / "site")
    site.configure({"small": small_bootstrap(site.folder)}, {}, SMALL_PACKAGER)
    live = Live(site, Daemon(site, *PROVING))
    live.daemon.start()
    live.build("small")
    live.add_stream("web/front", FILES)
    live.build("web/front")
    live.add_stream("web/front", {**FILES, "files/etc/more": "y\n"})
    live.build("web/front")
    live.add_stream("web/fails", {"manifest": OVER_SMALL, "scripts/no": FAILS})
    with pytest.raises(Exception, match="exit status 3"):
        live.build("web/fails")
    live.add_stream("web/long", {"manifest": OVER_SMALL, "scripts/counts": LONG})
    live.add_stream("web/slow", {"manifest": OVER_SMALL, "scripts/counts": COUNTS})
    yield live
    live.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    """Debian's Chromium without a screen."""
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(live: Live, browser: webdriver.Chrome) -> Iterator[Callable[[str], webdriver.Chrome]]:
    """Opens a page by its path; in the end nothing bad has happened on any."""
    browser.get_log("browser")
    browser.get_log("performance")

    def opened(path: str) -> webdriver.Chrome:
        browser.get(live.daemon.url.rstrip("/") + path)
        return browser

    yield opened
    console = [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    asked = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = [one["params"]["request"]["url"] for one in asked if one["method"] == "Network.requestWillBeSent"]
    browser.get("about:blank")
    assert [] == console
    assert [] == [url for url in urls if not url.startswith((live.daemon.url, "data:"))]


def every_page(live: Live) -> list[str]:
    """The addresses of pages of each kind."""
    names = live.images("web/front")
    builds = live.call("Imaginator.ListBuilds")["Builds"]
    failed = next(build["BuildId"] for build in builds if build["State"] == "failed")
    good = next(build["BuildId"] for build in builds if build["State"] == "succeeded")
    return [
        "/", "/showImageStreams", "/showImageStream?web/front", "/showDirectedGraph", "/listImages", "/showStore",
        "/showMethods", "/logs", f"/showImage?{names[-1]}", f"/showImage?{names[-1]}&path=/etc", "/showBuildLogArchive",
        f"/showDifference?before={names[0]}&after={names[-1]}", f"/showBuild?{failed}", f"/showBuild?{good}",
    ]  # fmt: skip


@pytest.mark.parametrize(("width", "scheme"), [(1400, "light"), (400, "dark")])
def test_every_page(live: Live, browser: webdriver.Chrome, page: Callable[[str], Any], width: int, scheme: str) -> None:
    """It holds what is hostile as text, fits the window, and has no serious fault for those who cannot see it."""
    axe = (node_modules() / "axe-core" / "axe.min.js").read_text()
    browser.set_window_size(width, 1000)
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    serious: dict[str, list[str]] = {}
    for path in every_page(live):
        page(path)
        assert [] == browser.execute_script(TOO_WIDE), path
        browser.execute_script(axe)
        found = browser.execute_async_script("axe.run().then(arguments[0])")["violations"]
        bad = [f"{one['id']}: {one['nodes'][0]['html']}" for one in found if one["impact"] in ("serious", "critical")]
        serious |= {path: bad} if bad else {}
    browser.set_window_size(1400, 1000)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})

    assert {} == serious


def test_status_moves(live: Live, page: Callable[[str], Any]) -> None:
    """A build appears, has a bar that grows, and ends, without the page being asked for again."""
    browser = page("/")
    build = live.call("Imaginator.SubmitBuild", StreamName="web/slow", ExpiresIn=3600, MaxSourceAge=86400)["BuildId"]
    until(lambda: "web/slow" in text(browser, "#running"), "running build")
    until(lambda: text(browser, "#running time[data-since]") not in ("", "1.0 s"), "time that goes on")
    live.call("Imaginator.CancelBuild", BuildId=build)
    until(lambda: "web/slow" not in text(browser, "#running"), "end of the build")

    assert "cancelled" in text(browser, "#failed")


def test_log_follows(live: Live, page: Callable[[str], Any]) -> None:
    """Lines appear at the end, with colours and numbers, until the reader scrolls away; then the page stays."""
    build = live.call("Imaginator.SubmitBuild", StreamName="web/slow", ExpiresIn=3600, MaxSourceAge=86400)["BuildId"]
    wait_for_text(live, build, "line 3")
    browser = page(f"/showBuild?{build}")
    until(lambda: "line 12\n" in text(browser, ".log"), "twelfth line")
    at_end = "const log = document.querySelector('.log'); return log.scrollHeight - log.scrollTop - log.clientHeight"
    assert browser.execute_script(at_end) < 40
    browser.execute_script("const log = document.querySelector('.log'); log.style.height = '6rem'; log.scrollTop = 0")
    until(lambda: "line 20\n" in text(browser, ".log"), "twentieth line")

    assert 0 == browser.execute_script("return document.querySelector('.log').scrollTop")
    assert browser.execute_script("return document.querySelector('.log').lastElementChild.dataset.at").endswith(" s")
    live.call("Imaginator.CancelBuild", BuildId=build)
    until(lambda: "cancelled" in text(browser, "h1"), "end of the build")


def test_lines_have_times(live: Live, page: Callable[[str], Any]) -> None:
    """Since their step began: those that came with the page, and those before them that are loaded; steps too."""
    browser = page(f"/showBuild?{live.build('web/long')['BuildId']}")
    times = "return [...document.querySelectorAll('.log .line[data-at]')].map((line) => line.dataset.at)"
    shown = browser.execute_script(times)
    more = """
        const button = document.querySelector(".earlier button:not(:disabled)");
        button?.click();
        return button || document.querySelector(".earlier button");
    """
    until(lambda: not browser.execute_script(more), "beginning of the log")
    numbers = browser.execute_script("return [...document.querySelectorAll('.log .no')].map((no) => no.textContent)")
    steps = browser.execute_script("return [...document.querySelectorAll('.log .step')].map((line) => line.dataset.at)")

    assert [str(number + 1) for number in range(len(numbers))] == numbers
    assert len(numbers) > 3000
    assert all(steps)
    assert all(re.fullmatch(r"\d\.\d s|\d\d s", time) for time in (*shown, *browser.execute_script(times)))


def test_a_flood(live: Live, page: Callable[[str], Any]) -> None:
    """Of two million lines that come at once the page has the end, and lets the reader go back with right numbers."""
    live.add_stream("web/flood", {"manifest": OVER_SMALL, "scripts/floods": FLOOD})
    wanted = {"StreamName": "web/flood", "ExpiresIn": 3600, "MaxSourceAge": 86400}
    build = live.call("Imaginator.SubmitBuild", **wanted)["BuildId"]
    wait_for_text(live, build, "scripts/floods")
    browser = page(f"/showBuild?{build}")
    until(lambda: "the last line\n" in text(browser, ".log"), "last line")
    kept = browser.execute_script("return document.querySelector('.log').childElementCount")
    browser.execute_script("document.querySelector('.earlier button').click()")
    until(lambda: browser.execute_script("return document.querySelector('.log').childElementCount") > 6000, "earlier")
    lines = browser.execute_script(
        "return [...document.querySelectorAll('.log .line')].map((line) => line.textContent)"
    )
    pairs = [match for match in (re.fullmatch(r"(\d+?)(\d{7})\n", line) for line in lines) if match]

    assert kept < 6000
    assert len(pairs) > 5000
    assert 1 == len({int(pair[1]) - int(pair[2]) for pair in pairs})


def test_colours_and_hostile_lines(live: Live, page: Callable[[str], Any]) -> None:
    """What a program wrote for a terminal is coloured; what looks like markup is text."""
    builds = live.call("Imaginator.ListBuilds", StreamName="web/front")["Builds"]
    browser = page(f"/showBuild?{builds[0]['BuildId']}")

    assert "red" == text(browser, ".log .c1")
    assert NASTY in text(browser, ".log")
    assert not browser.execute_script("return document.querySelector('.log img, .log script')")


def test_difference_by_a_form(live: Live, page: Callable[[str], Any]) -> None:
    """From an image's page to what it differs in from another one."""
    browser = page(f"/showImage?{live.images('web/front')[-1]}")
    browser.execute_script("document.querySelector('form.inline button').click()")
    until(lambda: "Difference" in text(browser, "h1"), "difference")

    assert "more" in text(browser, ".changes")


def test_without_script(live: Live, browser: webdriver.Chrome, page: Callable[[str], Any]) -> None:
    """Where no script runs the pages show all the same, and forms choose."""
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        page("/")
        shown = browser.page_source
        page("/logs?level=warn&name=web%2Ffails")
        chosen = browser.page_source
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})

    assert "web/front" in shown
    assert "of web/fails: failed" in chosen
    assert "web/front" not in chosen
    assert "ago</time>" in shown or "just now</time>" in shown


def test_metrics(live: Live) -> None:
    """What a daemon that has built tells passes Prometheus's own tool, and has all that the samples ask for."""
    with live.client() as client, client.stream("/metrics") as body:
        page = body.read().decode()
    told = {one.name for family in text_string_to_metric_families(page) for one in family.samples}
    samples = [(ETC / name).read_text() for name in ("prometheus/imaginator.rules.yml", "grafana/imaginator.json")]

    assert (0, "") == promtool("check", "metrics", text=page)
    assert set() == set(re.findall(r"\bimaginator_[a-z_]+\b", "".join(samples))) - told


def test_axe_is_there() -> None:
    """What checks the pages is what npm has."""
    assert Path(node_modules() / "axe-core" / "axe.min.js").stat().st_size > 100_000
