"""A daemon that serves images, and one whose store it is: real builds over TLS, whatever happens to the line."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from demo.daemon import Daemon
from demo.site import Site
from imaginator.rpc.client import RpcError
from imaginator.srpc import messages as said
from imaginator.srpc.coders import JSON
from imaginator.srpc.server import GOB_PATH, JSON_PATH, TLS_GOB_PATH, TLS_JSON_PATH
from tests.integration.conftest import new_site
from tests.support.live import PROVING, Live
from tests.support.ports import free_port
from tests.support.small_system import SMALL_PACKAGER, small_bootstrap
from tests.support.srpc_peer import Line, Peer, Turned

pytestmark = pytest.mark.integration

OVER = '{"SourceImage": "small"}'
MOMENTS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
"""Seconds from the request for a build, which takes a third of a second, to the death of its image server."""

COLOURED = """
python=/usr/bin/python3
[ -x "$python" ] && "$python" -c 'import os, sys; os.setxattr(sys.argv[1], "user.colour", b"blue")' "$1/etc/release"
head -c 3000000 /dev/urandom > usr/share/large
mkdir usr/bin
"""


def with_certificates_of(site: Site, folder: Path) -> Site:
    """Another site, whose certificates are the first one's."""
    other = new_site(folder)
    shutil.rmtree(other.certificates)
    shutil.copytree(site.certificates, other.certificates)
    return other


def bootstrap(site: Site) -> list[str]:
    """The small system with a file that has an extended attribute, and a large one."""
    command = small_bootstrap(site.folder)
    script = Path(command[1])
    script.write_text(script.read_text() + COLOURED)
    return command


class Server:
    """A daemon with its store's port."""

    def __init__(self, folder: Path, *flags: str) -> None:
        self.port = free_port()
        self.site = new_site(folder)
        self.site.configure({"small": bootstrap(self.site)}, {}, SMALL_PACKAGER)
        flags = ("--serve-images-port", str(self.port), *flags)
        self.live = Live(self.site, Daemon(self.site, *PROVING, *flags))
        self.live.daemon.start()

    def peer(self, path: str = TLS_GOB_PATH.decode(), who: str | None = "user") -> Peer:
        """A connection to the store with somebody's certificate, or with none."""
        tls = path in (TLS_GOB_PATH.decode(), TLS_JSON_PATH.decode())
        pair = self.site.certificate(who) if who else None
        return Peer(self.port, path, self.site.authority if tls else None, pair)

    def images(self) -> list[str]:
        """The names of all images."""
        with self.peer() as peer:
            peer.begin("ImageServer.ListImages")
            return list(iter(peer.line, ""))


@contextmanager
def imaginator(server: Server, folder: Path, port: int = 0) -> Iterator[Live]:
    """A daemon whose store is the server's."""
    site = with_certificates_of(server.site, folder)
    site.configure({"small": bootstrap(site)}, {}, SMALL_PACKAGER)
    flags = ("--image-server-hostname", "localhost", "--image-server-port", str(port or server.port))
    live = Live(site, Daemon(site, *PROVING, *flags))
    live.daemon.start()
    try:
        live.add_stream("over", {"manifest": OVER, "files/etc/motd": "hello\n"})
        yield live
    except BaseException:
        live.daemon.kill()
        raise
    live.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """One that serves images."""
    server = Server(tmp_path / "server")
    yield server
    server.live.close()


def tree(live: Live, image: str) -> dict[str, tuple[Any, ...]]:
    """What an image's download has that the wire can say: times of directories and links it cannot."""
    with live.client() as client, client.stream(f"/getImage?{image}") as body:
        data = io.BytesIO(body.read())
    with tarfile.open(fileobj=data) as archive:
        found = {}
        for one in archive:
            content = archive.extractfile(one) if one.isreg() else None
            told = content.read() if content else one.linkname
            found[one.name.removeprefix("./")] = (
                one.type,
                one.mode,
                one.uid,
                one.gid,
                one.mtime if one.isreg() else 0,
                told,
            )
        return found


def test_builds_go_to_the_server(server: Server, tmp_path: Path) -> None:
    """They are the same there; attributes stay here, and are told of once; a second imaginator goes on from there."""
    with imaginator(server, tmp_path / "one") as one:
        small = one.build("small")["ImageName"]
        record = one.build("over")
        first, log = record["ImageName"], one.log(record["BuildId"])
        again = one.build("over")
        log_again = one.log(again["BuildId"])
        with one.client() as client, client.stream("/") as body:
            assert f"the image server localhost:{server.port}" in body.read().decode()
        stored = one.call("ImageServer.GetImage", ImageName=first)

    assert [first, again["ImageName"], small] == server.images()
    assert tree(server.live, first)["etc/motd"][-1] == b"hello\n"
    assert 1 == log.count("the image server cannot hold the extended attributes of /etc/release")
    assert 1 == log.count("objects of")
    assert "=== store" in log_again
    assert "objects of" not in log_again
    assert small == stored["Origin"]["SourceImage"]

    with imaginator(server, tmp_path / "two") as two:
        last = two.build("over")["ImageName"]
        fetched = two.daemon.log.read_text().count("was fetched")
        assert tree(server.live, last) == tree(two, last)

    assert last in server.images()
    assert 2 == fetched  # the source, and the stream's latest image
    with server.peer() as peer:
        image = peer.ask("ImageServer.GetImage", said.GetImageRequest(last), said.GetImageResponse).image
        talk = peer.begin("ObjectServer.GetObjects")
        talk.send(said.GetObjectsRequest(hashes=[image.build_log.object]))
        (size,) = talk.receive(said.GetObjectsResponse).object_sizes
        assert b"=== pack" in peer.data(size)


def test_a_line_that_breaks(server: Server, tmp_path: Path) -> None:
    """Wherever it does: the build comes to its end, and there is one image of it."""
    with Line(server.port).open() as line, imaginator(server, tmp_path / "one", line.port) as live:
        live.build("small")
        began = line.heard
        live.build("over")
        whole = line.heard - began
        for step in range(12):
            live.add_stream("over", {"manifest": OVER, "files/etc/motd": f"{step}\n" * 20_000})
            before = server.images()
            line.heard, line.cuts = 0, [step * (whole + 100_000) // 12]
            name = live.build("over")["ImageName"]
            assert sorted([*before, name]) == server.images(), step

    assert f"{step}\n".encode() * 20_000 == tree(server.live, name)["etc/motd"][-1]


def test_a_server_that_is_killed(server: Server, tmp_path: Path) -> None:
    """It comes back in the middle of a build, which goes on; there is one image of each."""
    with imaginator(server, tmp_path / "one") as live:
        live.build("small")
        for place, delay in enumerate(MOMENTS, start=1):
            live.add_stream("over", {"manifest": OVER, "files/etc/motd": f"{delay}\n" * 20_000})
            build = live.call("Imaginator.SubmitBuild", StreamName="over", ExpiresIn=3600)["BuildId"]
            time.sleep(delay)
            server.live.daemon.kill()
            server.live.daemon.start()
            while (record := live.call("Imaginator.GetBuild", BuildId=build))["State"] in ("queued", "running"):
                time.sleep(0.05)
            over = [name for name in server.images() if name.startswith("over/")]
            assert ("succeeded", place, record["ImageName"]) == (record["State"], len(over), over[-1]), record


def test_content_that_is_wrong(server: Server, tmp_path: Path) -> None:
    """It is found out, and nothing is made of it."""
    server.live.build("small")
    files = [path for path in (server.site.state / "objects").glob("*/*") if path.stat().st_size > 2_000_000]
    data = bytearray(files[0].read_bytes())
    data[0] ^= 1
    files[0].chmod(0o600)
    files[0].write_bytes(data)
    wrong = files[0].parent.name + files[0].name

    with imaginator(server, tmp_path / "one") as live:
        with pytest.raises(RpcError, match=f"object {wrong} came as "):
            live.build("over")
        assert [] == live.images()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of six megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_at_the_server(tmp_path: Path, small_disk: Path) -> None:
    """The build fails with what the server said; no part of the image is there, and the next build works."""
    server = Server(small_disk / "site", "--disk-reserve", "0")
    filler = small_disk / "filler"
    try:
        with imaginator(server, tmp_path / "one") as live:
            filler.write_bytes(bytes(3_000_000))
            with pytest.raises(RpcError, match="it cannot be kept: No space left on device"):
                live.build("small")
            assert [] == server.images()
            filler.unlink()
            assert [live.build("small")["ImageName"]] == server.images()
    finally:
        server.live.close()


def test_who_may_do_what(server: Server, tmp_path: Path) -> None:
    """As over the other protocols: an identity reads, methods of the certificate add; without one nothing is done."""
    small = server.live.build("small")["ImageName"]
    with server.peer(who=None) as nobody, pytest.raises(Turned, match="access to method denied: no client certificate"):
        nobody.begin("ImageServer.ListImages")
    with server.peer(GOB_PATH.decode()) as plain:
        assert "HTTP/1.0 405 Method Not Allowed" == plain.status
    with Peer(server.live.daemon.port, "/_nothing_/") as elsewhere:
        assert "HTTP/1.0 404 Not Found" == elsewhere.status
    with server.peer() as user:
        with pytest.raises(Turned, match="^access to method denied$"):
            user.begin("ObjectServer.AddObjects")
        assert [small] == server.images()
        assert "unknown service: Imaginator" == refusal(user, "Imaginator.GetDependencies")


def refusal(peer: Peer, method: str) -> str:
    """The words with which a method is refused."""
    with pytest.raises(Turned) as turned:
        peer.begin(method)
    return str(turned.value)


def test_plaintext_where_a_flag_says_so(tmp_path: Path) -> None:
    """Everybody reads, in both ways of saying values, and nobody adds."""
    server = Server(tmp_path / "server", "--serve-images-plaintext", "on")
    try:
        small = server.live.build("small")["ImageName"]
        for path in (GOB_PATH, JSON_PATH):
            with server.peer(path.decode()) as peer:
                coder = peer.use(JSON) if path == JSON_PATH else peer
                found = coder.ask(
                    "ImageServer.FindLatestImage",
                    said.FindLatestImageRequest(directory_name="small"),
                    said.FindLatestImageResponse,
                )
                assert small == found.image_name
                assert refusal(peer, "ImageServer.AddImage").startswith("access to method denied")
    finally:
        server.live.close()


def test_what_the_imaginator_is_asked(server: Server) -> None:
    """Builds with their logs as they grow, dependencies, the graph, pauses; in gob and in JSON."""
    live = server.live
    live.add_stream("over", {"manifest": OVER, "scripts/says": "#!/bin/sh\necho hello; sleep 0.3; echo again\n"})
    live.add_stream("broken", {"manifest": OVER, "scripts/fails": "#!/bin/sh\nexit 3\n"})
    authority, pair = live.site.authority, live.site.certificate("user")
    for path, coder in ((TLS_GOB_PATH, None), (TLS_JSON_PATH, JSON)):
        with Peer(live.daemon.port, path.decode(), authority, pair) as peer:
            if coder:
                peer.use(coder)
            log, answer = build(peer, "over")
            assert answer.image_name.startswith("over/")
            assert b"hello\n" in b"".join(log)
            assert 2 <= len(log)
            _, failed = build(peer, "broken")
            assert "exit status 3" in failed.error_string
            known = peer.ask(
                "Imaginator.GetDependencies", said.GetDependenciesRequest(), said.GetDependenciesResponse
            ).get_dependencies_result
            assert "small" == known.stream_to_source["over"]
            graph = peer.ask(
                "Imaginator.GetDirectedGraph", said.GetDirectedGraphRequest(), said.GetDirectedGraphResponse
            )
            assert b"digraph" in graph.get_directed_graph_result.graphviz_dot
            pause = said.DisableBuildRequestsRequest(60 * 10**9)
            until = peer.ask("Imaginator.DisableBuildRequests", pause, said.DisableBuildRequestsResponse)
            assert abs(until.disabled_until.seconds - time.time() - 60) < 30
            _, refused = build(peer, "over")
            assert "disabled" in refused.error_string
            peer.ask(
                "Imaginator.DisableBuildRequests", said.DisableBuildRequestsRequest(), said.DisableBuildRequestsResponse
            )


def build(peer: Peer, stream: str) -> tuple[list[bytes], Any]:
    """The pieces of a build's log, and what comes of it."""
    talk = peer.begin("Imaginator.BuildImage")
    talk.send(said.BuildImageRequest(stream_name=stream, expires_in=3600 * 10**9, stream_build_log=True))
    assert "" == peer.line()
    log = []
    while (answer := talk.receive(said.BuildImageResponse)).build_log and not answer.image_name:
        log.append(answer.build_log)
    return log, answer
