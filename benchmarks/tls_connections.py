"""New TLS connections with client certificates: what one costs the daemon, against a bare echo server with its TLS.

A connection is a full handshake, in which the caller's certificate is verified and looked up in a list of revoked ones,
and an orderly end, which only a server that has accepted the certificate answers. What counts is the server's
processor time, which neither the clients nor others on the machine disturb.
"""

from __future__ import annotations

import os
import socket
import ssl
import statistics
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.figure import Figure, seconds, spread
from demo.daemon import Daemon
from demo.site import Site
from imaginator.rpc.certificates import Issued, make_authority, make_certificate, revoke
from tests.support.small_system import SMALL_PACKAGER, small_bootstrap

CLIENTS = 4
CONNECTIONS = 100
"""How many each client makes in a round, one after the other."""
ROUNDS = 7
REVOKED = 100


class Server(NamedTuple):
    """Somebody who listens."""

    name: str
    pid: int
    port: int

    def processor(self) -> float:
        """Seconds of processor time that it has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Round(NamedTuple):
    """Seconds for each connection: the server's processor time, and all that passed."""

    processor: float
    elapsed: float


def measure(folder: Path) -> Figure:
    """Rounds of both in turn."""
    site = Site(folder / "site")
    lists = _certify(site)
    site.make_repository(_no_manifests(folder))
    site.configure({"small": small_bootstrap(site.folder)}, {}, SMALL_PACKAGER)
    context = ssl.create_default_context(cafile=site.authority)
    context.load_cert_chain(*site.certificate("user"))
    daemon = Daemon(site, "--crl-file", str(lists))
    daemon.start()
    try:
        with _echo(site, lists) as echo:
            ours = Server("daemon", daemon.pid, daemon.port)
            rounds: dict[Server, list[Round]] = {ours: [], echo: []}
            for server in (ours, echo) * ROUNDS:
                rounds[server].append(_round(server, context))
    finally:
        daemon.stop()
    costs = {server.name: statistics.median(one.processor for one in found) for server, found in rounds.items()}
    return Figure("tls-connections", costs["daemon"] / costs["echo"], 1.25, list(_parts(rounds)))


def _no_manifests(folder: Path) -> Path:
    (folder / "manifests").mkdir()
    return folder / "manifests"


def _certify(site: Site) -> Path:
    """The site's certificates, and a list of others that are revoked."""
    site.certificates.mkdir(parents=True)
    authority: Issued = make_authority("benchmark")
    authority.write(site.authority, None)
    make_certificate(authority, "imaginator", server=True).write(*site.certificate("imaginator"))
    make_certificate(authority, "user").write(*site.certificate("user"))
    lists = site.certificates / "crl.pem"
    lists.write_bytes(revoke(authority, *(make_certificate(authority, str(number)) for number in range(REVOKED))))
    return lists


@contextmanager
def _echo(site: Site, lists: Path) -> Iterator[Server]:
    files = [site.authority, *site.certificate("imaginator"), lists]
    argv = [sys.executable, "-m", "benchmarks.tls_echo", *map(str, files)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield Server("echo", process.pid, int(process.stdout.readline()))
        process.kill()


def _round(server: Server, context: ssl.SSLContext) -> Round:
    before = server.processor()
    clients = [threading.Thread(target=_connect, args=(server.port, context)) for _ in range(CLIENTS)]

    def run() -> None:
        for client in clients:
            client.start()
        for client in clients:
            client.join()

    elapsed, number = seconds(run), CLIENTS * CONNECTIONS
    return Round((server.processor() - before) / number, elapsed / number)


def _connect(port: int, context: ssl.SSLContext) -> None:
    for _ in range(CONNECTIONS):
        with socket.create_connection(("127.0.0.1", port)) as plain:
            context.wrap_socket(plain, server_hostname="localhost").unwrap().close()


def _parts(rounds: dict[Server, list[Round]]) -> Iterator[str]:
    for server, found in rounds.items():
        rate = 1 / statistics.median(one.elapsed for one in found)
        yield spread(f"processor time of a connection, {server.name}", [one.processor for one in found])
        yield f"{rate:.0f} connections a second, {server.name}, with {CLIENTS} clients on the same machine"
