"""A line that a build writes, until a reader sees it in a browser, while two hundred others follow the same log.

The build's script says what the clock is, to a hundredth of a second, which is taken for the moment of writing; the
page notes the frame in which the line is on the screen.
"""

from __future__ import annotations

import re
import selectors
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver

from benchmarks.build_site import BuildSite, stream_of
from benchmarks.figure import Figure, spread
from demo.site import BASE_STREAM
from tests.support.chromium import chromium, until
from tests.support.small_system import SMALL_PACKAGER, small_bootstrap

FOLLOWERS = 200
LINES = 60
AIM = 0.1
"""Seconds."""

SAYS = """#!/bin/sh
while :
do
    read -r up rest < /proc/uptime
    echo "at $up"
    sleep 0.23
done
"""
MANIFEST = {"manifest": f'{{"SourceImage": "{BASE_STREAM}"}}', "scripts/says": SAYS}
WATCH = """
window.seen = [];
new MutationObserver((changes) => {
  const texts = changes.flatMap((change) => [...change.addedNodes]).map((node) => node.textContent);
  requestAnimationFrame(() => {
    const now = performance.timeOrigin + performance.now();
    window.seen.push(...texts.map((text) => [text, now]));
  });
}).observe(document.querySelector(".log"), { childList: true });
"""


def measure(folder: Path) -> Figure:
    """A real daemon, a real browser, and followers over plain connections, half of logs, half of events."""
    site = BuildSite(folder, small_bootstrap(folder), SMALL_PACKAGER, {"says": MANIFEST})
    with site, site.client() as client, chromium() as browser:
        site.build(client, BASE_STREAM)
        wanted = {"StreamName": stream_of("says"), "ExpiresIn": 3600, "MaxSourceAge": 86400}
        build = client.call("Imaginator.SubmitBuild", **wanted)["BuildId"]
        until(lambda: client.call("Imaginator.GetBuild", BuildId=build)["Stage"] == "scripts", "script")
        with followers(site.daemon.port, build) as received:
            times = seen(browser, f"{site.daemon.url}showBuild?{build}")
            fewest = min(received.values())
        client.call("Imaginator.CancelBuild", BuildId=build)
    if len(received) != FOLLOWERS or fewest < 10 * LINES:
        raise RuntimeError(f"{len(received)} followers, of whom one received but {fewest} bytes")
    parts = [spread("written to seen", times), f"{FOLLOWERS} followers beside it"]
    return Figure("log-line", statistics.median(times) / AIM, 1.0, parts)


def seen(browser: webdriver.Chrome, url: str) -> list[float]:
    """How many seconds each line took that the page got while it was watched."""
    browser.get(url)
    browser.execute_script(WATCH)
    until(lambda: browser.execute_script("return window.seen.length") >= LINES, "line")
    begun = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    found = [(re.search(r"at ([\d.]+)", text), at) for text, at in browser.execute_script("return window.seen")]
    return [at / 1000 - begun - float(match[1]) for match, at in found if match]


@contextmanager
def followers(port: int, build: str) -> Iterator[dict[socket.socket, int]]:
    """Connections that follow a build, and how many bytes each has received."""
    paths = (f"/showBuildLog?{build}&follow", f"/events?{build}")
    received = dict.fromkeys((following(port, paths[number % 2]) for number in range(FOLLOWERS)), 0)
    over = threading.Event()
    reader = threading.Thread(target=read_on, args=(received, over))
    reader.start()
    try:
        yield received
    finally:
        over.set()
        reader.join()
        for connection in received:
            connection.close()


def following(port: int, path: str) -> socket.socket:
    """A connection on which a page is asked for."""
    connection = socket.create_connection(("127.0.0.1", port))
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return connection


def read_on(received: dict[socket.socket, int], over: threading.Event) -> None:
    """Read whatever comes."""
    with selectors.DefaultSelector() as selector:
        for connection in received:
            selector.register(connection, selectors.EVENT_READ, connection)
        while not over.is_set():
            for key, _ in selector.select(0.2):
                connection = key.data
                data = connection.recv(1 << 16)
                received[connection] += len(data)
                if not data:
                    selector.unregister(connection)
