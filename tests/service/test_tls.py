"""The certificates' files, and handshakes with what they make."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from typing import NamedTuple

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.web.resource import Resource
from twisted.web.server import Site

from imaginator.model.errors import ConfigurationError
from imaginator.rpc.certificates import Issued, make_authority, make_certificate
from imaginator.service.listener import Certificates, Listener
from imaginator.service.tls import AbsentFile, server_context


class Made(NamedTuple):
    """An authority and the server's files."""

    authority: Issued
    files: Certificates


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """Files that are good."""
    authority = make_authority("test authority")
    files = Certificates(tmp_path / "CA.pem", tmp_path / "cert.pem", tmp_path / "key.pem")
    authority.write(files.authority, None)
    make_certificate(authority, "localhost", server=True).write(files.certificate, files.key)
    return Made(authority, files)


def problem(files: Certificates) -> str:
    """What is wrong with the files."""
    with pytest.raises(ConfigurationError) as wrong:
        server_context(*files)
    return str(wrong.value)


@pytest.mark.parametrize("field", Certificates._fields)
def test_absent_files(made: Made, field: str) -> None:
    """Each is named, and told apart from one that is no good."""
    path: Path = getattr(made.files, field)
    path.unlink()

    with pytest.raises(AbsentFile, match="no such file"):
        server_context(*made.files)
    assert problem(made.files).startswith(f"{path}: ")


@pytest.mark.parametrize("field", Certificates._fields)
def test_malformed_files(made: Made, field: str) -> None:
    """The sentence names the file and what was expected in it."""
    path: Path = getattr(made.files, field)
    path.write_text("nonsense")

    assert problem(made.files).startswith(f"{path}: expected ")


def test_an_unreadable_file(made: Made) -> None:
    """What cannot be read is named."""
    made.files.key.unlink()
    made.files.key.mkdir()

    assert f"{made.files.key}: cannot be read: Is a directory" == problem(made.files)


def test_a_key_that_does_not_fit(made: Made, tmp_path: Path) -> None:
    """Both files are named."""
    make_certificate(made.authority, "localhost", server=True).write(tmp_path / "other.pem", made.files.key)

    assert f"{made.files.key}: not the key of {made.files.certificate}" == problem(made.files)


def client(made: Made, folder: Path, user: str = "", authority: Issued | None = None) -> ssl.SSLContext:
    """A client that trusts the server, and shows a certificate of ``user`` where there is one."""
    context = ssl.create_default_context(cafile=str(made.files.authority))
    if user:
        make_certificate(authority or made.authority, user).write(folder / "user.pem", folder / "user.key")
        context.load_cert_chain(folder / "user.pem", folder / "user.key")
    return context


def ask(port: int, context: ssl.SSLContext | None) -> bytes:
    """The first line of the answer to a request, over TLS where there is a context."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        stream = context.wrap_socket(connection, server_hostname="localhost") if context else connection
        with stream:
            stream.sendall(b"GET / HTTP/1.0\r\n\r\n")
            with stream.makefile("rb") as answer:
                return answer.read().partition(b"\r\n")[0]


def new_listener(port: int = 0) -> Listener:
    """A listener on the loopback, for a site without pages."""
    return Listener(reactor, reactor, "127.0.0.1", port, Site(Resource()))


def port_of(listener: Listener) -> int:
    """The port that a listener took."""
    return int(listener._listening.getHost().port)  # type: ignore[union-attr]


@pytest_twisted.ensureDeferred
async def test_one_port_for_all_clients(made: Made, tmp_path: Path) -> None:
    """Plain HTTP, TLS without a certificate and with one are served; a foreign certificate ends the handshake."""
    listener = new_listener()
    listener.secure(made.files)
    listener.startService()
    foreign = make_authority("foreign authority")
    contexts = (None, client(made, tmp_path), client(made, tmp_path, "alice"))
    try:
        answers = [await deferToThread(ask, port_of(listener), context) for context in contexts]
        with pytest.raises(OSError, match=r"(?i)unknown.ca|reset|alert"):
            await deferToThread(ask, port_of(listener), client(made, tmp_path, "eve", foreign))
    finally:
        await listener.stopService()

    assert [b"HTTP/1.0 404 Not Found"] * 3 == [answer.replace(b"HTTP/1.1", b"HTTP/1.0") for answer in answers]


@pytest_twisted.ensureDeferred
async def test_a_port_that_is_taken(made: Made) -> None:
    """Starting fails with a sentence that has the port."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]

        with pytest.raises(ConfigurationError, match=f"^port {port}: cannot listen: "):
            new_listener(port).startService()


def test_bad_files_change_nothing_and_absent_ones_close_tls(made: Made) -> None:
    """Exchanged certificates that are no good leave those before in force."""
    listener = new_listener()
    listener.secure(made.files)
    before = listener._choose(True)
    key = made.files.key.read_bytes()
    made.files.key.write_text("nonsense")
    with pytest.raises(ConfigurationError):
        listener.secure(made.files)
    after = listener._choose(True)
    made.files.key.write_bytes(key)
    made.files.certificate.unlink()
    with pytest.raises(AbsentFile):
        listener.secure(made.files)

    assert before is after
    assert listener._choose(False) is listener._choose(True)
