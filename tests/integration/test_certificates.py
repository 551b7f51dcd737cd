"""A running daemon whose certificates, authority and lists are exchanged under its connections."""

from __future__ import annotations

import os
import re
import signal
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.client import HTTPResponse
from pathlib import Path

import pytest

from demo.daemon import Daemon
from imaginator.rpc.certificates import Issued, Wish, issue, make_authority, make_certificate, revoke
from imaginator.rpc.client import Client, Credentials, RpcError, Unreachable
from tests.integration.conftest import new_site
from tests.integration.test_bad_input import OVER_SMALL, poll
from tests.support.live import PROVING, Live
from tests.support.small_system import SMALL_PACKAGER, small_bootstrap

pytestmark = pytest.mark.integration

LIST = "ImageServer.ListImages"
LONG = {"manifest": OVER_SMALL, "scripts/long": "#!/bin/sh\necho started\nsleep 3600\n"}


class Renewed:
    """A daemon, and the authority of all its certificates."""

    def __init__(self, live: Live) -> None:
        self.live = live
        self.authority = make_authority("test authority")
        self.site = live.site
        self.revocations = self.site.folder / "crl.pem"
        self.put_authority(self.authority)
        self.put_server()
        user = make_certificate(self.authority, "user", methods=["Imaginator.*", "ImageServer.*"])
        user.write(*self.site.certificate("user"))
        self.revoke()

    def put_authority(self, authority: Issued) -> None:
        """Write the CA file in one step."""
        self._put(self.site.authority, lambda path: authority.write(path, None))

    def put_server(self) -> Issued:
        """Write a new certificate of the daemon's and its key, one after the other."""
        issued = make_certificate(self.authority, "imaginator", server=True)
        certificate, key = self.site.certificate("imaginator")
        issued.write(certificate, key)
        return issued

    def revoke(self, *revoked: Issued) -> None:
        """Write the list of revoked certificates."""
        self._put(self.revocations, lambda path: path.write_bytes(revoke(self.authority, *revoked)))

    def _put(self, path: Path, write: Callable[[Path], object]) -> None:
        fresh = path.with_suffix(".new")
        write(fresh)
        fresh.rename(path)

    def hang_up(self) -> None:
        """The signal to read everything again, rather than wait for the next look."""
        os.kill(self.live.daemon.pid, signal.SIGHUP)

    def client(self, issued: Issued) -> Client:
        """A client with a certificate; it trusts the first authority."""
        certificate, key = self.site.folder / "caller.pem", self.site.folder / "caller.key"
        trusted = self.site.folder / "trusted.pem"
        issued.write(certificate, key)
        self.authority.write(trusted, None)
        return Client("127.0.0.1", self.live.daemon.port, Credentials(certificate, key, trusted))

    def shown(self) -> bytes:
        """The certificate that a new connection is shown."""
        pem = ssl.get_server_certificate(("127.0.0.1", self.live.daemon.port), timeout=30)
        return ssl.PEM_cert_to_DER_cert(pem)

    def page(self, path: str = "") -> str:
        """A page over plain HTTP."""
        with urllib.request.urlopen(f"{self.live.daemon.url}{path}", timeout=30) as answer:
            return str(answer.read().decode())

    def said(self, words: str) -> int:
        """How often the log has these words."""
        return self.live.daemon.log.read_text().count(words)


@pytest.fixture(scope="module")
def renewed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Renewed]:
    """A daemon with a list of revoked certificates that is empty."""
    site = new_site(tmp_path_factory.mktemp("renewed") / "site")
    live = Live(site, Daemon(site, *PROVING, "--crl-file", str(site.folder / "crl.pem")))
    renewed = Renewed(live)
    site.configure({"small": small_bootstrap(site.folder)}, {}, SMALL_PACKAGER)
    live.daemon.start()
    live.build("small")
    yield renewed
    live.close()


def refused(connect: Callable[[], object]) -> bool:
    """Whether TLS ends the handshake."""
    try:
        connect()
    except Unreachable:
        return True
    return False


class Waiting(threading.Thread):
    """Somebody who waits for a build on a connection of their own, and what came of it."""

    def __init__(self, renewed: Renewed, stream: str) -> None:
        super().__init__()
        self._renewed, self._stream = renewed, stream
        self.error: Exception | None = None

    def run(self) -> None:
        """Ask and wait."""
        try:
            self._renewed.live.build(self._stream)
        except RpcError as error:
            self.error = error


def running(renewed: Renewed, stream: str) -> str:
    """The id of the stream's build once its script runs."""
    live, found = renewed.live, ""

    def started() -> bool:
        nonlocal found
        builds = live.call("Imaginator.ListBuilds", StreamName=stream, Limit=1)["Builds"]
        found = builds[0]["BuildId"] if builds else ""
        return bool(found) and "started" in live.log(found)

    poll(started, "the script")
    return found


@pytest.mark.parametrize("by", ["a look", "SIGHUP"])
def test_what_is_under_way_goes_on(renewed: Renewed, by: str) -> None:
    """New connections meet the new certificate; a log that is followed and a build that is waited for never notice."""
    live = renewed.live
    stream = live.add_stream(f"long/{by.replace(' ', '-').lower()}", LONG)
    waiting = Waiting(renewed, stream)
    waiting.start()
    build = running(renewed, stream)
    with live.client() as follower, live.client() as caller:
        log: HTTPResponse = follower.stream(f"/showBuildLog?{build}&follow")
        caller.call(LIST)
        opened = caller._connection
        fresh = renewed.put_server().certificate
        if by == "SIGHUP":
            renewed.hang_up()
        poll(lambda: renewed.shown() == ssl.PEM_cert_to_DER_cert(pem(fresh)), "the new certificate")
        caller.call("Imaginator.CancelBuild", BuildId=build)
        with log:
            followed = log.read().decode()
        same = caller._connection is opened
    waiting.join()

    assert same
    assert "started" in followed
    assert "cancelled" in followed
    assert isinstance(waiting.error, RpcError)
    assert -32007 == waiting.error.code


def pem(certificate: object) -> str:
    """A certificate as text."""
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM).decode()  # type: ignore[attr-defined,no-any-return]


def test_a_revoked_certificate(renewed: Renewed) -> None:
    """Its next request on an open connection fails with a sentence, and a new connection is not made; others go on."""
    eve = make_certificate(renewed.authority, "eve")
    with renewed.client(eve) as client:
        client.call(LIST)
        opened = client._connection
        renewed.revoke(eve)
        renewed.hang_up()
        poll(lambda: fails(client, "the client certificate was revoked"), "the list")
        same = client._connection is opened
        with pytest.raises(Unreachable):
            renewed.client(eve).stream("/")
    renewed.live.call(LIST)
    renewed.revoke()
    renewed.hang_up()
    poll(lambda: not refused(lambda: renewed.client(eve).stream("/").close()), "the list without it")

    assert same


def fails(client: Client, words: str) -> bool:
    """Whether a call is refused for want of a good certificate, with these words."""
    try:
        client.call(LIST)
    except RpcError as error:
        found = (error.code, error.message)
    else:
        return False
    assert (-32001, words) == found
    return True


def test_a_certificate_that_expires_on_an_open_connection(renewed: Renewed) -> None:
    """Requests are answered to its end, and not after it."""
    brief = issue(renewed.authority, Wish("brief", not_after=datetime.now(UTC) + timedelta(seconds=3)))
    with renewed.client(brief) as client:
        client.call(LIST)
        poll(lambda: fails(client, "the client certificate has expired, or is not valid yet"), "the end")


def test_a_key_that_comes_later(renewed: Renewed) -> None:
    """Until then the certificate before stays, with the reason on the page, in the metrics, and once in the log."""
    key = renewed.site.certificate("imaginator")[1]
    before, words = renewed.shown(), f"{key}: not the key of "
    fresh = make_certificate(renewed.authority, "imaginator", server=True)
    fresh.write(renewed.site.certificate("imaginator")[0], renewed.site.folder / "later.key")
    poll(lambda: words in renewed.page(), "the reason")
    during = (renewed.shown(), renewed.page("metrics"), renewed.page("healthz"))
    (renewed.site.folder / "later.key").rename(key)
    poll(lambda: words not in renewed.page(), "the key")

    assert (before, "ok\n") == (during[0], during[2])
    assert "imaginator_certificates_refused 1.0" in during[1]
    assert before != renewed.shown()
    assert 1 == renewed.said(words)


def test_an_authority_that_is_exchanged(renewed: Renewed) -> None:
    """Certificates of the one before are refused, on open connections too, until it is back."""
    with renewed.live.client() as client:
        client.call(LIST)
        other = make_authority("other authority")
        renewed._put(renewed.revocations, lambda path: path.write_bytes(revoke(other)))
        renewed.put_authority(other)
        renewed.hang_up()
        poll(lambda: fails(client, "the authority of the client certificate is not trusted any more"), "the authority")
        refused_now = refused(lambda: renewed.client(make_certificate(renewed.authority, "bob")).stream("/"))
        renewed.revoke()
        renewed.put_authority(renewed.authority)
        renewed.hang_up()
        poll(lambda: not fails(client, "the authority of the client certificate is not trusted any more"), "its return")

    assert refused_now


def test_an_authority_that_is_removed(renewed: Renewed) -> None:
    """No TLS and no RPC, on open connections neither; the page says why, and builds go on. It returns as it was."""
    aside = renewed.site.authority.with_suffix(".aside")
    with renewed.live.client() as client:
        client.call(LIST)
        renewed.site.authority.rename(aside)
        renewed.hang_up()
        poll(lambda: "RPC is closed" in renewed.page(), "the reason")
        closed = fails(client, "HTTPS is closed: the status page says why")
        with pytest.raises((OSError, ssl.SSLError)):
            renewed.shown()
        aside.rename(renewed.site.authority)
        renewed.hang_up()
        poll(lambda: "RPC is closed" not in renewed.page(), "the authority")
        client.call(LIST)

    assert closed


def test_a_list_that_is_late(renewed: Renewed) -> None:
    """It counts on, and somebody is told: in the log at once, on the page, and by the time in the metrics."""
    eve = make_certificate(renewed.authority, "late eve")
    yesterday = datetime.now(UTC) - timedelta(days=1)
    late = revoke(renewed.authority, eve, last_update=yesterday - timedelta(days=1), next_update=yesterday)
    renewed._put(renewed.revocations, lambda path: path.write_bytes(late))
    told = "the list of revoked certificates has expired on"
    poll(lambda: told in renewed.page(), "the page")
    metrics = renewed.page("metrics")
    eve_refused = refused(lambda: renewed.client(eve).stream("/"))
    renewed.live.call(LIST)
    renewed.revoke()
    poll(lambda: told not in renewed.page(), "a new list")

    assert eve_refused
    assert 1 == renewed.said(told)
    found = re.search(r'imaginator_certificate_expiry_timestamp_seconds\{file="crl-file"\} (\S+)', metrics)
    assert found is not None
    assert int(yesterday.timestamp()) == float(found[1])


def test_pages_for_those_who_are_known(tmp_path: Path) -> None:
    """With --pages identity supervisors alone are answered without a certificate; the tool needs nothing else."""
    site = new_site(tmp_path / "site")
    site.configure({"small": small_bootstrap(site.folder)}, {}, SMALL_PACKAGER)
    live = Live(site, Daemon(site, "--pages", "identity"))
    live.daemon.start()
    stranger = Client("127.0.0.1", live.daemon.port, Credentials(authority=site.authority))
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(live.daemon.url, timeout=30)
    with pytest.raises(RpcError, match="pages need a client certificate"):
        stranger.stream("/")
    with stranger.stream("/healthz") as body:
        health = body.read()
    with live.client() as client, client.stream("/showImageStreams") as body:
        page = body.read()
    images = live.tool("list-images")
    live.close()

    assert b"ok\n" == health
    assert images.stdout.startswith("IMAGE ")
    assert b"small" in page
