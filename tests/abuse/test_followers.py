"""A thousand who watch one build, and those who only pretend to."""

from __future__ import annotations

import re
import selectors
import socket
import time
import urllib.request

import pytest

from tests.abuse.normal import Idle, unharmed
from tests.abuse.rude import BLOCK, PATIENCE, Rude
from tests.integration.test_bad_input import OVER_SMALL, poll
from tests.support.faulty import ended, record, submit
from tests.support.live import Live
from tests.support.printed import FIGURES

pytestmark = pytest.mark.integration

FOLLOWERS = 500
"""Of either kind: a thousand in all."""

DEAF = 400

GROWS = """#!/bin/sh
for number in $(seq 40)
do
    for again in $(seq 40)
    do
        echo "line $number of a log that grows while many look at it"
    done
    sleep 0.1
done
echo "the last line"
"""

LONG = """#!/bin/sh
yes "a line of a log that is longer than all buffers" | head -c 8000000
sleep 4
"""


def running(live: Live, stream: str, script: str) -> str:
    """A build that has begun to talk."""
    live.add_stream(stream, {"manifest": OVER_SMALL, "scripts/talk": script})
    build = submit(live, stream)
    poll(lambda: record(live, build).get("Stage") == "scripts", "the scripts")
    return build


def ask(one: socket.socket, path: str) -> None:
    """Ask for something that goes on."""
    one.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())


def test_a_thousand_followers(live: Live, idle: Idle) -> None:
    """All of them see the last line, as a text or as events."""
    with unharmed(live, f"{2 * FOLLOWERS} followers of one build", idle), Rude(live) as rude:
        build = running(live, "many/follow", GROWS)
        followers = [rude.plain() for _ in range(2 * FOLLOWERS)]
        for one, path in zip(followers, [f"/showBuildLog?{build}&follow", f"/events?{build}"] * FOLLOWERS, strict=True):
            ask(one, path)
        ends, size = read_all(followers)
        ended(live, build)
    FIGURES.append(f"{size >> 20} MB for {2 * FOLLOWERS} followers")

    assert [] == [end for end in ends if b"the last line" not in end]


CHANGING = 5
"""Builds while a thousand watch; of each, its queueing, start, stages and end are told."""

TURN = 0.1
"""Seconds that the reactor may be late: a machine that does other things is, now and then."""


def test_a_thousand_watchers(live: Live, idle: Idle) -> None:
    """All of them see every build end, while the daemon comes to its timers in time."""
    live.add_stream("many/watch", {"manifest": OVER_SMALL, "scripts/1": "#!/bin/sh\nsleep 1\n"})
    with unharmed(live, f"{2 * FOLLOWERS} watchers of all builds", idle), Rude(live) as rude:
        watchers = [rude.plain() for _ in range(2 * FOLLOWERS)]
        for one in watchers:
            ask(one, "/events")
        before = timers(live)
        builds = [submit(live, "many/watch", Variables={"NUMBER": str(number)}) for number in range(CHANGING)]
        told = read_until(watchers, [f'"BuildId":"{build}"' for build in builds], '"State":"succeeded"')
    late, all_of_them = (now - then for now, then in zip(timers(live), before, strict=True))
    FIGURES.append(
        f"{2 * FOLLOWERS} watchers: {told >> 20} MB, {late} of {all_of_them} timers late by {TURN * 1000:.0f} ms"
    )

    assert late < all_of_them / 4


def timers(live: Live) -> tuple[int, int]:
    """How many of the daemon's timers were late by more than `TURN`, and how many there were."""
    with urllib.request.urlopen(f"{live.daemon.url}metrics") as answer:
        text = answer.read().decode()
    found = dict(re.findall(r'^imaginator_reactor_late_seconds_bucket\{le="([^"]+)"\} ([0-9.]+)$', text, re.MULTILINE))
    count = int(float(found["+Inf"]))
    return count - int(float(found[str(TURN)])), count


def read_until(sockets: list[socket.socket], names: list[str], end: str) -> int:
    """Read what comes on all of these until each has told of the end of each of these; how many bytes that were."""
    left = {one: set(names) for one in sockets}
    rest = dict.fromkeys(sockets, "")
    size = 0
    deadline = time.monotonic() + PATIENCE
    with selectors.DefaultSelector() as selector:
        for one in sockets:
            selector.register(one, selectors.EVENT_READ)
        while any(left.values()):
            assert time.monotonic() < deadline, f"{sum(map(bool, left.values()))} wait for news"
            for key, _ in selector.select(1):
                assert isinstance(key.fileobj, socket.socket)
                one = key.fileobj
                data = one.recv(BLOCK)
                size += len(data)
                *events, rest[one] = (rest[one] + data.decode()).split("\n\n")
                ended = [event for event in events if end in event]
                left[one] -= {name for name in left[one] for event in ended if name in event}
    return size


def read_all(sockets: list[socket.socket]) -> tuple[list[bytes], int]:
    """The ends of what comes on each of these connections until it is closed, and how many bytes came in all."""
    ends = dict.fromkeys(sockets, b"")
    size = 0
    deadline = time.monotonic() + PATIENCE
    with selectors.DefaultSelector() as selector:
        for follower in sockets:
            selector.register(follower, selectors.EVENT_READ)
        while selector.get_map():
            assert time.monotonic() < deadline, f"{len(selector.get_map())} are still told something"
            for key, _ in selector.select(1):
                assert isinstance(key.fileobj, socket.socket)
                one = key.fileobj
                data = one.recv(BLOCK)
                size += len(data)
                ends[one] = (ends[one] + data)[-BLOCK:]
                if not data:
                    selector.unregister(one)
    return list(ends.values()), size


def test_followers_that_never_read(live: Live, idle: Idle) -> None:
    """They cost a block each, the build does not wait for them, and when they go everything of theirs goes."""
    with unharmed(live, f"{DEAF} followers that never read", idle), Rude(live) as rude:
        build = running(live, "many/deaf", LONG)
        for number in range(DEAF):
            ask(rude.plain(receive=4096), f"/showBuildLog?{build}&follow" if number % 2 else f"/events?{build}")

        assert "succeeded" == ended(live, build)["State"]
