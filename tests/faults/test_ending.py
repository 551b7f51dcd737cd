"""A build is cancelled wherever it is, or comes to its maximum duration: nothing is left of it."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.faults.conftest import running
from tests.integration.conftest import new_site
from tests.integration.test_bad_input import OVER_SMALL, poll
from tests.support.faulty import SLEEP, Watcher, at_rest, ended, failure, let_go_on, record, submit
from tests.support.kills import holders
from tests.support.live import Live, leftovers
from tests.support.printed import COUNTS
from tests.support.small_system import small_bootstrap

pytestmark = pytest.mark.integration

FOLDERS = ("pre-install-scripts", "scripts", "post-cleanup-scripts", "tests")
COMMANDS = ("update", "upgrade", "install", "clean", "list")
"""Those of a packager that can hang."""
STREAMS = ("endless", "fetch", *FOLDERS, *COMMANDS)
CANCELLED, TIMED_OUT = -32007, -32008
HANGS = f"#!/bin/sh\n{SLEEP}\n"
MANY = "#!/bin/sh\nset -e\ndd if=/dev/urandom of=/var/lib/much bs=1M count=64\n"


def hanging(command: str) -> list[str]:
    """A packager's command that hangs where the image wants that."""
    return ["sh", "-c", f"test -e /etc/hang-{command} && {SLEEP}; cat /etc/release"]


PACKAGER: dict[str, object] = {
    **{f"{command.capitalize()}Command": hanging(command) for command in COMMANDS if command != "list"},
    "ListCommand": {"ArgList": hanging("list")},
}


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    """A daemon with a bootstrap that hangs, and one whose packager does where a manifest wants it."""
    site = new_site(tmp_path / "site")
    streams = {"small": small_bootstrap(site.folder), "endless": SLEEP.split()}
    site.configure(streams, {}, PACKAGER)
    with running(site) as live:
        live.build("small")
        yield live


@pytest.fixture
def silent_url() -> Iterator[str]:
    """A Git repository's URL whose server takes connections, and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        yield f"http://127.0.0.1:{silent.getsockname()[1]}/repository"


def add_hanging(live: Live, name: str, silent_url: str) -> None:
    """Add the stream of this name, whose build hangs in what it is called after."""
    if name == "fetch":
        live.add_stream(name, {"manifest": OVER_SMALL}, ManifestUrl=silent_url)
    elif name in FOLDERS:
        live.add_stream(name, {"manifest": OVER_SMALL, f"{name}/hangs": HANGS})
    elif name in COMMANDS:
        live.add_stream(name, {"manifest": OVER_SMALL, "package-list": "tree\n", f"files/etc/hang-{name}": "yes\n"})


def hanging_build(live: Live, name: str, **wishes: object) -> str:
    """A build that has come to where it hangs; its id."""
    build = submit(live, name, **wishes)
    if name == "fetch":
        poll(lambda: record(live, build).get("Stage") == name, name)
    else:
        at_rest(live)
    return build


def cancel(live: Live, build: str) -> float:
    """Cancel a build, and see that it has ended as cancelled; how many seconds that took."""
    begun = time.monotonic()
    live.call("Imaginator.CancelBuild", BuildId=build)
    found = ended(live, build)
    took = time.monotonic() - begun

    assert ("cancelled", CANCELLED) == (found["State"], found["Failure"]["Code"])
    return took


def test_cancelled_at_work(live: Live, silent_url: str) -> None:
    """In a bootstrap, a fetch, each folder of scripts and each command of a packager; the status page is there."""
    times = {}
    with Watcher(live.daemon.url):
        for name in STREAMS:
            add_hanging(live, name, silent_url)
            times[name] = cancel(live, hanging_build(live, name))
            assert [] == leftovers(live.site)
            assert [] == live.images(name)
            COUNTS["cancelled at work"] += 1
    slowest = max(times, key=lambda name: times[name])
    print(f"slowest to be cancelled: {slowest}, {times[slowest]:.2f} s")


def test_cancelled_before_work(live: Live) -> None:
    """A queued build, and one that waits for its source; the source's own build goes on until it is cancelled, too."""
    live.add_stream("over", {"manifest": '{"SourceImage": "endless"}'})
    waiting = submit(live, "over")
    poll(lambda: record(live, waiting)["State"] == "waiting", "the build to wait for its source")
    at_rest(live)
    queued = submit(live, "over")
    cancel(live, queued)
    cancel(live, waiting)
    (source,) = (one for one in live.call("Imaginator.ListBuilds")["Builds"] if one["State"] == "running")
    assert "endless" == source["Request"]["StreamName"]
    cancel(live, source["BuildId"])

    assert [] == leftovers(live.site)
    COUNTS["cancelled before work"] += 2


def test_cancelled_while_packing(live: Live) -> None:
    """Though what packs hears of nothing: it is stopped (SIGSTOP) as soon as the stage is seen."""
    live.add_stream("much", {"manifest": OVER_SMALL, "scripts/it": MANY})
    with live.client() as client:
        build = submit(live, "much")
        while client.call("Imaginator.GetBuild", BuildId=build).get("Stage") != "pack":
            pass
        for holder in holders(live.daemon.pid):
            os.kill(holder.pid, signal.SIGSTOP)
    print(f"cancelled while packing: {cancel(live, build):.2f} s")

    assert [] == leftovers(live.site)
    assert [] == live.images("much")
    COUNTS["cancelled while packing"] += 1


@contextmanager
def locked(catalogue: Path) -> Iterator[None]:
    """Let nobody else write into a catalogue."""
    with closing(sqlite3.connect(catalogue, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


def test_cancelled_while_storing(live: Live) -> None:
    """An image that is on its way into the catalogue already is told of as what it is; else there is none."""
    live.add_stream("late", {"manifest": OVER_SMALL, "scripts/it": HANGS + "exit 0\n"})
    build = hanging_build(live, "late")
    cancelling = threading.Thread(target=live.call, args=["Imaginator.CancelBuild"], kwargs={"BuildId": build})
    with locked(live.site.state / "catalogue.sqlite"):
        let_go_on(live)
        poll(lambda: record(live, build).get("Stage") == "store", "store")
        cancelling.start()
        # As often as it takes for the other call to be heard.
        for _ in range(20):
            record(live, build)
    cancelling.join()
    found = ended(live, build)

    expected = {"succeeded": [found["ImageName"]], "cancelled": []}
    assert expected[found["State"]] == live.images("late")
    assert [] == leftovers(live.site)
    COUNTS[f"cancelled while storing: {found['State']}"] += 1


@pytest.mark.parametrize("name", ["endless", "fetch", "scripts"])
def test_maximum_duration(live: Live, silent_url: str, name: str) -> None:
    """The build fails with how long it might take, and nothing is left."""
    add_hanging(live, name, silent_url)
    build = submit(live, name, MaximumBuildDuration=2)

    assert (TIMED_OUT, "the build took longer than 2s") == failure(live, build)
    assert [] == leftovers(live.site)
    COUNTS["maximum duration"] += 1
