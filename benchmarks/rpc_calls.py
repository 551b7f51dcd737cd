"""Calls of one client over one TLS connection, one after another, against servers that do nothing but answer."""

from __future__ import annotations

import json
import socket
import ssl
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from xmlrpc.client import dumps

from benchmarks.figure import Figure
from demo.daemon import Daemon
from demo.site import Site
from imaginator.rpc.client import Client, Credentials
from tests.support.small_system import SMALL_PACKAGER, small_bootstrap

CALLS = 1500
ROUNDS = 3
AIM = 1 / 0.6
METHOD = "Imaginator.ListBuilds"
BUILDS = 5
BODIES = {
    "/jsonrpc": ("application/json", json.dumps({"jsonrpc": "2.0", "id": 1, "method": METHOD, "params": {}}).encode()),
    "/RPC2": ("text/xml", dumps(({},), METHOD).encode()),
}


def measure(folder: Path) -> Sequence[Figure]:
    """JSON-RPC and XML-RPC of a daemon that has built a few images, by turns with the bare ones."""
    site = Site(folder)
    site.make_certificates()
    (folder / "manifests").mkdir()
    site.make_repository(folder / "manifests")
    site.configure({"small": small_bootstrap(folder)}, {}, SMALL_PACKAGER)
    daemon = Daemon(site)
    daemon.start()
    try:
        answer = folder / "answer"
        answer.write_text(json.dumps(built(site, daemon.port)))
        with bare(site, answer) as port:
            return [figure(site, path, daemon.port, port) for path in BODIES]
    finally:
        daemon.stop()


def built(site: Site, port: int) -> object:
    """What the method lists after some builds."""
    certificate, key = site.certificate("user")
    with Client("127.0.0.1", port, Credentials(certificate, key, site.authority)) as client:
        for _ in range(BUILDS):
            client.call("Imaginator.BuildImage", StreamName="small", ExpiresIn=3600)
        return client.call(METHOD)


@contextmanager
def bare(site: Site, answer: Path) -> Iterator[int]:
    """The port of the servers to compare with."""
    files = (site.authority, *site.certificate("imaginator"), answer)
    argv = [sys.executable, "-m", "benchmarks.bare_rpc", *map(str, files)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


def figure(site: Site, path: str, ours: int, theirs: int) -> Figure:
    """Seconds of a call against those of the bare server's."""
    times: dict[int, list[float]] = {ours: [], theirs: []}
    for _ in range(ROUNDS):
        for port, found in times.items():
            found += calls(site, port, path)
    ratio = statistics.fmean(times[ours]) / statistics.fmean(times[theirs])
    parts = [described("daemon", times[ours]), described("bare server", times[theirs])]
    return Figure(f"rpc-calls{path.lower().replace('/', '-')}", ratio, AIM, parts)


def described(name: str, times: Sequence[float]) -> str:
    """A line of calls in a second, and how long the slow ones take."""
    slow = sorted(times)[int(len(times) * 0.99)]
    return (
        f"{name}: {1 / statistics.fmean(times):.0f} calls/s, 99th percentile {slow * 1000:.1f} ms, {len(times)} calls"
    )


def calls(site: Site, port: int, path: str) -> list[float]:
    """How long each of many calls takes."""
    context = ssl.create_default_context(cafile=site.authority)
    context.load_cert_chain(*site.certificate("user"))
    kind, body = BODIES[path]
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    found = []
    with (
        socket.create_connection(("127.0.0.1", port)) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        for _ in range(CALLS):
            begun = time.perf_counter()
            connection.sendall(head.encode() + body)
            receive(connection)
            found.append(time.perf_counter() - begun)
    return found


def receive(connection: ssl.SSLSocket) -> None:
    """Read one answer; raises RuntimeError for one that is none."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536) or end()
    head, _, body = data.partition(b"\r\n\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(head)
    chunked = b"transfer-encoding" in fields
    while not body.endswith(b"0\r\n\r\n") if chunked else len(body) < int(fields[b"content-length"]):
        body += connection.recv(65536) or end()


def end() -> bytes:
    """The connection must not end."""
    raise RuntimeError("the connection was closed")
