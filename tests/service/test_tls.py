"""The certificates' files, and handshakes with what they make."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.web.resource import Resource

from imaginator.model.errors import ConfigurationError
from imaginator.rpc.certificates import Issued, Wish, issue, make_authority, make_certificate, revoke
from imaginator.service.credentials import AbsentFile, Files, read_credentials
from imaginator.service.listener import Listener, Place, secured
from imaginator.web.site import BoundedSite

NEEDED = ("authority", "certificate", "key")
YESTERDAY = datetime.now(UTC) - timedelta(days=1)
REFUSED = r"(?i)alert|reset|broken pipe"


class Made(NamedTuple):
    """An authority and the server's files."""

    authority: Issued
    files: Files

    def revoke(self, *lists: bytes) -> Files:
        """The same files with one of lists of revoked certificates."""
        path = self.files.authority.with_name("crl.pem")
        path.write_bytes(b"".join(lists))
        return self.files._replace(revocations=path)


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """Files that are good."""
    authority = make_authority("test authority")
    files = Files(tmp_path / "CA.pem", tmp_path / "cert.pem", tmp_path / "key.pem")
    authority.write(files.authority, None)
    make_certificate(authority, "localhost", server=True).write(files.certificate, files.key)
    return Made(authority, files)


def problem(files: Files) -> str:
    """What is wrong with the files."""
    with pytest.raises(ConfigurationError) as wrong:
        secured(files)
    return str(wrong.value)


@pytest.mark.parametrize("field", NEEDED)
def test_absent_files(made: Made, field: str) -> None:
    """Each is named, and told apart from one that is no good."""
    path: Path = getattr(made.files, field)
    path.unlink()

    with pytest.raises(AbsentFile, match="no such file"):
        secured(made.files)
    assert problem(made.files).startswith(f"{path}: ")


def test_an_absent_list(made: Made) -> None:
    """It is an error, not a list without entries, and no reason to serve without TLS."""
    files = made.revoke()
    assert files.revocations is not None
    files.revocations.unlink()

    with pytest.raises(ConfigurationError, match="No such file") as wrong:
        secured(files)
    assert not isinstance(wrong.value, AbsentFile)


@pytest.mark.parametrize("field", Files._fields)
def test_malformed_files(made: Made, field: str) -> None:
    """The sentence names the file and what was expected in it."""
    files = made.revoke(revoke(made.authority))
    path: Path = getattr(files, field)
    path.write_text("nonsense")

    assert problem(files).startswith(f"{path}: expected ")


@pytest.mark.parametrize("field", ["authority", "certificate", "revocations"])
def test_half_written_files(made: Made, field: str) -> None:
    """A second block that is cut off is noticed: it is not as if it were not there."""
    files = made.revoke(revoke(made.authority))
    path: Path = getattr(files, field)
    path.write_bytes(path.read_bytes() + path.read_bytes()[:-40])

    assert problem(files).startswith(f"{path}: expected ")


def test_an_unreadable_file(made: Made) -> None:
    """What cannot be read is named."""
    made.files.key.unlink()
    made.files.key.mkdir()

    assert f"{made.files.key}: cannot be read: Is a directory" == problem(made.files)


def test_a_key_that_does_not_fit(made: Made, tmp_path: Path) -> None:
    """Both files are named."""
    make_certificate(made.authority, "localhost", server=True).write(tmp_path / "other.pem", made.files.key)

    assert f"{made.files.key}: not the key of {made.files.certificate}" == problem(made.files)


def test_a_list_of_a_stranger(made: Made) -> None:
    """An authority of the same name is another one, and what it revokes counts for nothing."""
    files = made.revoke(revoke(made.authority), revoke(make_authority("test authority")))

    assert "CN=test authority is not signed by an authority of the CA file" in problem(files)


def test_authorities_without_a_list(made: Made) -> None:
    """They are named: their callers are refused."""
    other = make_authority("other authority")
    files = made.revoke(revoke(made.authority))
    both = files.authority.read_bytes()
    other.write(files.authority, None)
    files.authority.write_bytes(both + files.authority.read_bytes())

    (warning,) = read_credentials(files).warnings()
    assert "no list of CN=other authority" in warning


def test_what_ends_first(made: Made) -> None:
    """Of each file, the end of what ends first is told."""
    soon = (datetime.now(UTC) + timedelta(days=3)).replace(microsecond=0)
    files = made.revoke(revoke(made.authority, next_update=soon))
    one, two = files.authority.read_bytes(), files.authority.with_name("two.pem")
    make_authority("brief authority", not_after=soon).write(two, None)
    files.authority.write_bytes(one + two.read_bytes())

    ends = {expiry.flag: expiry.at for expiry in read_credentials(files).expiries()}
    assert {"ca-file", "cert-file", "crl-file"} == set(ends)
    assert (soon, soon) == (ends["ca-file"], ends["crl-file"])


def client(
    made: Made, folder: Path, user: str = "", authority: Issued | None = None, issued: Issued | None = None
) -> ssl.SSLContext:
    """A client that trusts the server, and shows a certificate of ``user`` where there is one."""
    context = ssl.create_default_context(cafile=made.files.authority)
    if user:
        issued = issued or make_certificate(authority or made.authority, user)
        issued.write(folder / "user.pem", folder / "user.key")
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
    return Listener(reactor, reactor, Place("127.0.0.1", port), BoundedSite(Resource(), reactor))


def port_of(listener: Listener) -> int:
    """The port that a listener took."""
    return int(listener._listening.getHost().port)  # type: ignore[union-attr]


@asynccontextmanager
async def listening(files: Files) -> AsyncIterator[int]:
    """The port of a listener with these files."""
    listener = new_listener()
    listener.secure(secured(files))
    listener.startService()
    try:
        yield port_of(listener)
    finally:
        await listener.stopService()
        while listener._secure is not None and listener._secure.protocols:
            await deferLater(reactor, 0.01)
        listener.refusals.stop()


@pytest_twisted.ensureDeferred
async def test_one_port_for_all_clients(made: Made, tmp_path: Path) -> None:
    """Plain HTTP, TLS without a certificate and with one are served; a foreign certificate ends the handshake."""
    foreign = make_authority("foreign authority")
    contexts = (None, client(made, tmp_path), client(made, tmp_path, "alice"))
    async with listening(made.files) as port:
        answers = [await deferToThread(ask, port, context) for context in contexts]
        with pytest.raises(OSError, match=REFUSED):
            await deferToThread(ask, port, client(made, tmp_path, "eve", foreign))

    assert [b"HTTP/1.0 404 Not Found"] * 3 == [answer.replace(b"HTTP/1.1", b"HTTP/1.0") for answer in answers]


LISTS: dict[str, Callable[[Issued, Issued], bytes]] = {
    "in time": revoke,
    "late": lambda authority, one: revoke(authority, one, last_update=YESTERDAY, next_update=YESTERDAY),
    "early": lambda authority, one: revoke(authority, one, last_update=datetime.now(UTC) + timedelta(hours=1)),
    "replaced": lambda authority, one: revoke(authority, one) + revoke(authority, last_update=YESTERDAY),
}


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda version: version.name)
@pytest.mark.parametrize("kind", LISTS)
@pytest_twisted.ensureDeferred
async def test_revoked_certificates(made: Made, tmp_path: Path, kind: str, version: ssl.TLSVersion) -> None:
    """The handshake ends for them and for nobody else, even where the list is past its time, or of a faster clock."""
    eve = issue(made.authority, Wish("eve"))
    revoked = client(made, tmp_path, "eve", issued=eve)
    contexts = [client(made, tmp_path, "alice"), client(made, tmp_path)]
    for context in (revoked, *contexts):
        context.maximum_version = version
    async with listening(made.revoke(LISTS[kind](made.authority, eve))) as port:
        answers = [await deferToThread(ask, port, context) for context in contexts]
        with pytest.raises(OSError, match=REFUSED):
            await deferToThread(ask, port, revoked)

    assert all(b"404 Not Found" in answer for answer in answers)


@pytest_twisted.ensureDeferred
async def test_without_a_list_nobody_knows(made: Made, tmp_path: Path) -> None:
    """Callers of an authority that the file has no list of are refused."""
    other = make_authority("other authority")
    files = made.revoke(revoke(made.authority))
    other.write(tmp_path / "other.pem", None)
    files.authority.write_bytes(files.authority.read_bytes() + (tmp_path / "other.pem").read_bytes())
    async with listening(files) as port:
        answer = await deferToThread(ask, port, client(made, tmp_path, "alice"))
        with pytest.raises(OSError, match=REFUSED):
            await deferToThread(ask, port, client(made, tmp_path, "bob", other))

    assert b"404 Not Found" in answer


@pytest_twisted.ensureDeferred
async def test_an_authority_that_signs_through_another(made: Made, tmp_path: Path) -> None:
    """The list of the one that signed the caller's certificate is what counts, and no other one is missed."""
    issuing = make_authority("issuing authority", root=made.authority)
    eve = make_certificate(issuing, "eve")
    files = made.revoke(revoke(issuing, eve))
    issuing.write(tmp_path / "issuing.pem", None)
    files.authority.write_bytes(files.authority.read_bytes() + (tmp_path / "issuing.pem").read_bytes())
    async with listening(files) as port:
        answer = await deferToThread(ask, port, client(made, tmp_path, "alice", issuing))
        for issued in (eve, make_certificate(made.authority, "bob")):
            with pytest.raises(OSError, match=REFUSED):
                await deferToThread(ask, port, client(made, tmp_path, "revoked or unlisted", issued=issued))

    assert b"404 Not Found" in answer
    assert [] == list(read_credentials(files).warnings())


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda version: version.name)
@pytest_twisted.ensureDeferred
async def test_nothing_is_resumed(made: Made, tmp_path: Path, version: ssl.TLSVersion) -> None:
    """A client that brings a session of before shakes hands anew; otherwise it would meet no list."""
    context = client(made, tmp_path, "alice")
    context.maximum_version = version

    def twice(port: int) -> list[bool | None]:
        reused, session = [], None
        for _ in range(2):
            with (
                socket.create_connection(("127.0.0.1", port), timeout=10) as connection,
                context.wrap_socket(connection, server_hostname="localhost", session=session) as stream,
            ):
                stream.sendall(b"GET / HTTP/1.0\r\n\r\n")
                while stream.recv(4096):
                    pass
                session = stream.session
                reused.append(stream.session_reused)
        return reused

    async with listening(made.files) as port:
        assert [False, False] == await deferToThread(twice, port)


@pytest_twisted.ensureDeferred
async def test_a_port_that_is_taken(made: Made) -> None:
    """Starting fails with a sentence that has the port."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]

        with pytest.raises(ConfigurationError, match=f"^port {port}: cannot listen: "):
            new_listener(port).startService()
