"""The synchronous client: its sentences for what can be wrong, its connection, its streams."""

from __future__ import annotations

import http.client
import http.server
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import ssl
from twisted.internet.threads import deferToThread
from twisted.web.server import Site
from twisted.web.static import Data

from imaginator.rpc import client as client_module
from imaginator.rpc import explaining
from imaginator.rpc.certificates import Issued, Wish, issue, make_authority
from imaginator.rpc.client import Client, Credentials, RpcError, Unreachable
from tests.support.real_reactor import reactor
from tests.support.rpc_site import BytesPage, RpcSite

BODY = bytes(range(256)) * 4096


def list_images(client: Client) -> object:
    """The shortest of calls."""
    return client.call("ImageServer.ListImages")


def refusal(host: str, port: int, credentials: Credentials = Credentials()) -> str:  # noqa: B008
    """Why a call fails."""
    with pytest.raises(Unreachable) as caught, Client(host, port, credentials) as client:
        list_images(client)
    return str(caught.value)


@pytest.fixture
def crude_server() -> Iterator[Callable[[bytes], int]]:
    """Serves one connection with fixed bytes, whatever is asked, and closes it; tells the port."""
    listener = socket.create_server(("127.0.0.1", 0))
    threads = []

    def serve(answer: bytes) -> int:
        def run() -> None:
            connection = listener.accept()[0]
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        threads.append(threading.Thread(target=run))
        threads[0].start()
        port: int = listener.getsockname()[1]
        return port

    yield serve
    for thread in threads:
        thread.join()
    listener.close()


def test_unknown_host() -> None:
    """A name that does not resolve."""
    assert "unknown host: no-such-host.invalid port 6975" in refusal("no-such-host.invalid", 6975)


def test_nothing_listens() -> None:
    """A port where nobody is."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    assert f"nothing listens at 127.0.0.1 port {port}" == refusal("127.0.0.1", port)


def test_no_tls(crude_server: Callable[[bytes], int], monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that speaks something else."""
    monkeypatch.setattr(explaining, "PATIENCE", 0.2)
    assert "does not speak TLS" in refusal("127.0.0.1", crude_server(b"SSH-2.0-OpenSSH_9.2\r\n"))


def test_hung_up(crude_server: Callable[[bytes], int]) -> None:
    """A server that hangs up."""
    assert "closed the connection" in refusal("127.0.0.1", crude_server(b""))


def test_plain_http() -> None:
    """A web server without TLS is told by what it speaks."""
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever).start()
        said = refusal("127.0.0.1", server.server_port)
        server.shutdown()

    assert f"127.0.0.1 port {server.server_port} does not speak TLS, but plain HTTP: " in said


@pytest_twisted.ensureDeferred
async def test_plain_http_that_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that takes a TLS greeting for the beginning of a request, and waits for its end, is told, too."""
    monkeypatch.setattr(client_module, "_CONNECT_SECONDS", 0.2)
    port = reactor.listenTCP(0, web_site(), interface="127.0.0.1")
    number = port.getHost().port
    try:
        said = await deferToThread(refusal, "127.0.0.1", number)
    finally:
        await port.stopListening()

    assert f"127.0.0.1 port {number} does not answer within 0.2 s; it speaks plain HTTP" == said


def web_site() -> Site:
    """A site of Twisted's, which waits for nothing when this is over."""
    return Site(Data(b"a page", "text/plain"), timeout=None)


def test_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that never answers is not waited for without end."""
    monkeypatch.setattr(explaining, "PATIENCE", 0.2)
    monkeypatch.setattr(client_module, "_CONNECT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        assert f"127.0.0.1 port {port} does not answer within 0.2 s" == refusal("127.0.0.1", port)


@pytest_twisted.ensureDeferred
async def test_other_host(tmp_path: Path) -> None:
    """A certificate for other names says for which."""
    authority = make_authority("house")
    said = await refused_by(tmp_path, authority, issue(authority, Wish("imaginator", server=True)), "127.0.0.2")

    assert "is not trusted: IP address mismatch" in said
    assert "; it is for imaginator, localhost, 127.0.0.1" in said


@pytest_twisted.ensureDeferred
async def test_server_that_has_expired(tmp_path: Path) -> None:
    """Its times are told."""
    authority = make_authority("house")
    ended = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    server = issue(authority, Wish("imaginator", server=True, not_before=ended - timedelta(days=1), not_after=ended))
    said = await refused_by(tmp_path, authority, server)

    assert "has expired" in said
    assert said.endswith("; it is valid from 2026-01-01 03:04:05 UTC to 2026-01-02 03:04:05 UTC")


async def refused_by(folder: Path, authority: Issued, server: Issued, address: str = "127.0.0.1") -> str:
    """Why a client that trusts ``authority`` talks to no server with this certificate at an address."""
    authority.write(folder / "CA.pem", None)
    server.write(folder / "server.pem", folder / "server.key")
    options = ssl.DefaultOpenSSLContextFactory(str(folder / "server.key"), str(folder / "server.pem"))
    port = reactor.listenSSL(0, web_site(), options, interface=address)
    try:
        trusting = Credentials(authority=folder / "CA.pem")
        return await deferToThread(refusal, address, port.getHost().port, trusting)
    finally:
        await port.stopListening()


@pytest_twisted.ensureDeferred
async def test_own_certificate_that_has_expired(site: RpcSite) -> None:
    """The caller learns which, who signed it, and when it ended."""
    ended = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    credentials = site.certify(Wish("alice", not_before=ended - timedelta(days=1), not_after=ended))

    with pytest.raises(Unreachable, match=r"signed it, it was valid to 2026-01-02 03:04:05 UTC\)"):
        await site.ask(credentials, list_images)


@pytest_twisted.ensureDeferred
async def test_own_certificate_of_another_authority(site: RpcSite, tmp_path: Path) -> None:
    """The caller learns who signed what he shows."""
    own = issue(make_authority("elsewhere"), Wish("alice"))
    paths = tmp_path / "own.pem", tmp_path / "own.key"
    own.write(*paths)
    credentials = site.certify(Wish("bob"))._replace(certificate=paths[0], key=paths[1])

    with pytest.raises(Unreachable, match=rf"client certificate {paths[0]}.* \('elsewhere' signed it\)"):
        await site.ask(credentials, list_images)


@pytest_twisted.ensureDeferred
async def test_foreign_server(site: RpcSite, tmp_path: Path) -> None:
    """A daemon whose certificate another authority signed is not trusted."""
    mine = tmp_path / "mine.pem"
    make_authority("mine").write(mine, None)
    credentials = site.certify(Wish("alice"))._replace(authority=mine)

    with pytest.raises(Unreachable, match=rf"is not trusted: .* \(by {mine}\); '.*' signed it, expected was 'mine'"):
        await site.ask(credentials, list_images)


@pytest.mark.parametrize("field", Credentials._fields)
def test_missing_file(tmp_path: Path, field: str) -> None:
    """A file of the credentials that is not there is named."""
    credentials = Credentials()._replace(**{field: tmp_path / "none.pem"})

    assert f"{tmp_path}/none.pem: No such file or directory" == refusal("127.0.0.1", 1, credentials)


def test_malformed_files(tmp_path: Path) -> None:
    """Files that hold something else are named, with what was expected."""
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("garbage")

    assert "expected certificates in PEM form" in refusal("127.0.0.1", 1, Credentials(authority=garbage))
    assert "expected a certificate and its key" in refusal("127.0.0.1", 1, Credentials(garbage, garbage))


@pytest_twisted.ensureDeferred
async def test_one_connection(site: RpcSite) -> None:
    """Calls share a connection, also after an error, and a stream does not disturb them."""
    site.root.putChild(b"body", BytesPage(BODY))

    def use(client: Client) -> set[object]:
        seen = set()
        for _ in range(3):
            list_images(client)
            with pytest.raises(RpcError):
                client.call("no.such")
            with client.stream("/body") as body:
                list_images(client)
                assert BODY == body.read()
            assert client._connection is not None
            seen.add(client._connection.sock)
        return seen

    assert 1 == len(await site.ask(site.certify(Wish("alice")), use))


@pytest_twisted.ensureDeferred
async def test_stream_of_a_missing_page(site: RpcSite) -> None:
    """A page's error is an RPC error with the code that means the same and the page's sentence."""
    path = f"/showBuildLog?{'0' * 26}&offset=0"

    with pytest.raises(RpcError) as caught:
        await site.ask(site.certify(Wish("alice")), lambda client: client.stream(path))

    assert (-32003, f"no build log of: {'0' * 26}") == (caught.value.code, caught.value.message)


@pytest_twisted.ensureDeferred
async def test_stream_that_breaks_off(site: RpcSite) -> None:
    """A body that ends before its time is never taken for whole."""
    site.root.putChild(b"cut", BytesPage(BODY, cut=True))

    with pytest.raises((http.client.IncompleteRead, ConnectionError, Unreachable)):
        await site.ask(site.certify(Wish("alice")), lambda client: client.stream("/cut").read())


def test_quick_start() -> None:
    """The client needs no Twisted, nor anything else beyond the standard library."""
    program = "import sys, imaginator.rpc.client; print('twisted' in sys.modules, 'msgspec' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True
    )

    assert "False False\n" == result.stdout
