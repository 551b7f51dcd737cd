"""The synchronous client: its sentences for what can be wrong, its connection, its streams."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import pytest_twisted

from imaginator.rpc.certificates import Wish, make_authority
from imaginator.rpc.client import Client, Credentials, RpcError, Unreachable
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


def test_no_tls(crude_server: Callable[[bytes], int]) -> None:
    """A port that speaks something else."""
    assert "does not speak TLS" in refusal("127.0.0.1", crude_server(b"SSH-2.0-OpenSSH_9.2\r\n"))


def test_hung_up(crude_server: Callable[[bytes], int]) -> None:
    """A server that hangs up."""
    assert "closed the connection" in refusal("127.0.0.1", crude_server(b""))


@pytest_twisted.ensureDeferred
async def test_foreign_server(site: RpcSite, tmp_path: Path) -> None:
    """A daemon whose certificate another authority signed is not trusted."""
    mine = tmp_path / "mine.pem"
    make_authority("mine").write(mine, None)
    credentials = site.certify(Wish("alice"))._replace(authority=mine)

    with pytest.raises(Unreachable, match=rf"is not trusted: .* \(by {mine}\)"):
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
