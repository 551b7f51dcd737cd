"""The pages that many look at, with many streams and builds while one builds, against as many bytes."""

from __future__ import annotations

import selectors
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from benchmarks.figure import Figure
from demo.daemon import Daemon
from demo.site import Site
from imaginator.model.build import BuildFailure, BuildRecord, BuildRequest, State
from imaginator.model.names import new_build_id
from imaginator.rpc.client import Client, Credentials
from tests.support.small_system import SMALL_PACKAGER, small_bootstrap

STREAMS = 2000
BUILDS = 1000
CONNECTIONS = 16
SECONDS = 3.0
ROUNDS = 3
AIM = 1 / 0.8
MANIFEST = '{"SourceImage": "small"}'
ENDLESS = "#!/bin/sh\nwhile true\ndo\n    echo going on\n    sleep 1\ndone\n"


def measure(folder: Path) -> Sequence[Figure]:
    """Full answers a second of either page, by turns with the handler's."""
    site = Site(folder)
    site.make_certificates()
    manifests = folder / "manifests"
    (manifests / "endless" / "scripts").mkdir(parents=True)
    (manifests / "endless" / "manifest").write_text(MANIFEST)
    (manifests / "endless" / "scripts" / "it").write_text(ENDLESS)
    site.make_repository(manifests)
    streams = {f"group-{number % 40}/stream-{number}/amd64": site.stream("endless") for number in range(STREAMS - 2)}
    site.configure({"small": small_bootstrap(folder)}, {"endless": site.stream("endless"), **streams}, SMALL_PACKAGER)
    daemon = Daemon(site)
    daemon.start()
    daemon.stop()
    remember(site.state / "catalogue.sqlite", list(streams))
    daemon.start()
    try:
        certificate, key = site.certificate("user")
        with Client("127.0.0.1", daemon.port, Credentials(certificate, key, site.authority)) as client:
            client.call("Imaginator.BuildImage", StreamName="small", ExpiresIn=3600)
            client.call("Imaginator.SubmitBuild", StreamName="endless", ExpiresIn=3600, MaxSourceAge=86400)
        return [figure(daemon, path) for path in ("/", "/showImageStreams")]
    finally:
        daemon.stop()


def remember(catalogue: Path, streams: Sequence[str]) -> None:
    """Write down builds that have ended."""
    now = datetime.now(UTC) - timedelta(days=1)
    failure = BuildFailure(-32005, "build-failed", "scripts/it: exit status 1\nE: Unable to locate package")
    build_id = ""
    with closing(sqlite3.connect(catalogue)) as connection, connection:
        for number in range(BUILDS):
            build_id = new_build_id(now, build_id)
            record = BuildRecord(
                build_id=build_id,
                request=BuildRequest(stream_name=streams[number]),
                requester="user",
                submitted_at=now,
                started_at=now,
                finished_at=now + timedelta(seconds=30),
                state=State.FAILED if number % 2 else State.SUCCEEDED,
                failure=failure if number % 2 else None,
                image_name="" if number % 2 else f"{streams[number]}/2026-01-01:00:00:00",
                attempt=1,
            )
            row = (build_id, streams[number], record.state.value, "user", now.timestamp(), record.image_name)
            connection.execute(
                "INSERT INTO builds VALUES (?, ?, ?, ?, ?, ?, ?)", (*row, msgspec.msgpack.encode(record))
            )


def figure(daemon: Daemon, path: str) -> Figure:
    """How many bare answers one of ours costs."""
    with urllib.request.urlopen(daemon.url.rstrip("/") + path) as answer:
        size = len(answer.read())
    ours, theirs = 0, 0
    with bare(size) as port:
        for _ in range(ROUNDS):
            ours += answers(daemon.port, path)
            theirs += answers(port, "/")
    seconds = ROUNDS * SECONDS
    parts = [
        f"{size} bytes",
        f"daemon: {ours / seconds:.0f} a second",
        f"bare handler: {theirs / seconds:.0f} a second",
    ]
    return Figure(f"page{path.replace('/', '-').rstrip('-')}", theirs / ours, AIM, parts)


@contextmanager
def bare(size: int) -> Iterator[int]:
    """The port of the handler to compare with."""
    argv = [sys.executable, "-m", "benchmarks.bare_page", str(size)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


def answers(port: int, path: str) -> int:
    """How many whole answers come over some connections in a while."""
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\n\r\n".encode()
    selector = selectors.DefaultSelector()
    left: dict[socket.socket, int] = {}
    count = 0
    for _ in range(CONNECTIONS):
        connection = socket.create_connection(("127.0.0.1", port))
        selector.register(connection, selectors.EVENT_READ, connection)
        connection.sendall(request)
        left[connection] = 0
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        for key, _ in selector.select():
            connection = key.data
            data = connection.recv(1 << 20)
            left[connection] = (left[connection] or length(data)) - len(data)
            if left[connection] == 0:
                count += 1
                connection.sendall(request)
    for connection in left:
        connection.close()
    return count


def length(data: bytes) -> int:
    """The length of an answer with its head; raises RuntimeError for one that is not whole or no page."""
    head, found, _ = data.partition(b"\r\n\r\n")
    if not found or not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(data[:200])
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    return len(head) + 4 + int(fields[b"content-length"])
