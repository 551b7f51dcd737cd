"""A running daemon takes over new configurations: from a web server when it is told to, and never broken ones."""

from __future__ import annotations

import json
import os
import re
import signal
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.daemon import Daemon
from demo.site import ARCH
from imaginator.rpc.client import RpcError
from tests.integration.conftest import new_site
from tests.support.live import PROVING, Live
from tests.support.served_folder import ServedFolder
from tests.support.small_system import SMALL_PACKAGER, small_bootstrap

pytestmark = pytest.mark.integration

NEVER = 1e6
"""Seconds between two looks at a server, which only a signal cuts short."""

ENOUGH = 30.0
"""Seconds that only a hang exceeds."""


class Served:
    """A daemon whose configurations are on a web server."""

    def __init__(self, live: Live, server: ServedFolder) -> None:
        self.live = live
        self.server = server
        self._written = 0

    def write(self, name: str, text: str) -> None:
        """Change a file; the server tells versions apart by the second."""
        path = self.server.folder / name
        fresh = path.with_suffix(".new")
        fresh.write_text(text)
        self._written += 1
        os.utime(fresh, (1e9 + self._written, 1e9 + self._written))
        fresh.replace(path)

    def configure(self, **fields: object) -> None:
        """Write the main configuration, with some fields more or others."""
        settings = {
            "BootstrapStreams": {
                "small": {"BootstrapCommand": small_bootstrap(self.live.site.folder), "PackagerType": "native"}
            },
            "PackagerTypes": {"native": SMALL_PACKAGER},
            "ImageStreamsUrl": f"{self.server.local_url}streams.json",
            "ImageStreamsCheckInterval": NEVER,
        }
        self.write("conf.json", json.dumps({**settings, **fields}))

    def streams(self, *names: str, **patterns: Any) -> None:
        """Write the streams configuration."""
        stream = self.live.site.stream("$IMAGE_STREAM_LEAF_NAME")
        self.write("streams.json", json.dumps({"Streams": dict.fromkeys(names, stream), **patterns}))

    def hang_up(self) -> None:
        """The signal to read everything again."""
        os.kill(self.live.daemon.pid, signal.SIGHUP)

    def page(self, path: str = "") -> str:
        """A page of the daemon's."""
        with urllib.request.urlopen(f"{self.live.daemon.url}{path}", timeout=ENOUGH) as answer:
            return str(answer.read().decode())

    def shows(self, *words: str) -> bool:
        """Whether the list of streams names all of these."""
        page = self.page("showImageStreams")
        return all(word in page for word in words)


def eventually(true: Callable[[], bool]) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + ENOUGH
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A daemon with two streams."""
    folder: Path = tmp_path_factory.mktemp("served")
    server = ServedFolder(folder / "www", ".json")
    with server.serve():
        site = new_site(folder / "site")
        daemon = Daemon(site, *PROVING, "--configuration-url", f"{server.local_url}conf.json")
        served = Served(Live(site, daemon), server)
        served.configure()
        served.streams("test/one", "test/two")
        daemon.start()
        yield served
        served.live.close()


def test_files_of_a_server_are_asked_for_again_by_their_versions(served: Served) -> None:
    """What did not change is not sent again; what did is taken over on SIGHUP."""
    served.server.fetched.clear()
    served.server.unchanged.clear()
    served.hang_up()
    eventually(lambda: {"conf.json", "streams.json"} <= set(served.server.unchanged))
    sent = list(served.server.fetched)
    served.streams("test/one", "test/three")
    served.hang_up()
    eventually(lambda: served.shows("test/three"))

    assert [] == sent
    assert not served.shows("test/two")


def test_a_broken_version_shows_until_it_is_mended(served: Served) -> None:
    """The good one stays in force; the status page and the log say what is wrong, and where."""
    served.write("streams.json", '{\n "Streams": {"test/four": {"ManifestUrl": 5}}}')
    served.hang_up()
    place = f"{served.server.local_url}streams.json: line 2, column 43"
    eventually(lambda: place in served.page())
    kept = served.shows("test/one")
    served.streams("test/one", "test/four")
    served.hang_up()
    eventually(lambda: place not in served.page())

    assert kept
    assert served.shows("test/four")
    assert place in served.live.daemon.log.read_text()


def test_unknown_fields_are_warned_of(served: Served) -> None:
    """The log names them with their place; the rest of the file counts."""
    served.configure(Colour="blue", RelationshipsQuickLinks=[{"Name": "n", "URL": "u", "Shape": "round"}])
    served.hang_up()
    eventually(lambda: "$.RelationshipsQuickLinks[0].Shape" in served.live.daemon.log.read_text())

    assert "$.Colour" in served.live.daemon.log.read_text()


def test_streams_of_patterns_exist_once_they_are_named(served: Served) -> None:
    """The whole name has to match; two patterns that match one name are an error with both."""
    site = served.live.site
    files = site.repository / "web"
    files.mkdir(exist_ok=True)
    (files / "manifest").write_text('{"SourceImage": "small"}')
    site.commit("web")
    stream = site.stream("$IMAGE_STREAM_LEAF_NAME")
    served.streams(StreamPatterns={"by/$ARCH/pattern/[a-z]+": stream, "by/[a-z0-9]+/pattern/x+": stream})

    record = served.live.build(f"by/{ARCH}/pattern/web")
    for name, sentence in (
        (f"by/{ARCH}/pattern/web2", "unknown stream: "),
        (f"by/{ARCH}/pattern/xx", f"matches two patterns: by/{ARCH}/pattern/[a-z]+ and by/[a-z0-9]+/pattern/x+"),
    ):
        with pytest.raises(RpcError, match=re.escape(sentence)):
            served.live.build(name)

    assert f"by/{ARCH}/pattern/web" == record["Request"]["StreamName"]


def test_streams_go_with_their_address(served: Served) -> None:
    """A main configuration without ImageStreamsUrl has bootstrap streams alone."""
    served.streams("test/last")
    served.hang_up()
    eventually(lambda: served.shows("test/last"))
    served.configure(ImageStreamsUrl="")
    served.hang_up()
    eventually(lambda: not served.shows("test/last"))

    assert served.shows("small")
