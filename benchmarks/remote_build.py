"""A build that changes one file, with an image server as the store, against the same build in the embedded one.

The server is another daemon on this machine, over TLS; the source image's layers are there from the first build on.
"""

from __future__ import annotations

import statistics
from pathlib import Path

from benchmarks.build_site import STREAM, DebianSite
from benchmarks.figure import Figure, seconds, spread
from demo.site import BASE_STREAM
from imaginator.rpc.client import Client
from tests.support.ports import free_port

RUNS = 7


def measure(folder: Path) -> Figure:
    """Both kinds of builds take turns, so that they see the same machine."""
    port = free_port()
    with DebianSite(folder / "server", flags=("--serve-images-port", str(port))) as server:
        flags = ("--image-server-hostname", "localhost", "--image-server-port", str(port))
        with (
            DebianSite(folder / "remote", flags=flags, certificates=server.site.certificates) as remote,
            DebianSite(folder / "embedded") as embedded,
            remote.client() as there,
            embedded.client() as here,
        ):
            sites = ((remote, there), (embedded, here))
            for site, client in sites:
                site.build(client, BASE_STREAM)
                site.build(client, STREAM)
            rounds = [[_build(site, client, f"run {run}") for site, client in sites] for run in range(RUNS)]
    remotely, embeddedly = (list(times) for times in zip(*rounds, strict=True))
    parts = [spread("with an image server over TLS", remotely), spread("in the embedded store", embeddedly)]
    return Figure("remote-build", statistics.median(remotely) / statistics.median(embeddedly), 1.6, parts)


def _build(site: DebianSite, client: Client, text: str) -> float:
    site.write_file(text)
    return seconds(lambda: site.build(client, STREAM))
