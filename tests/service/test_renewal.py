"""The files of TLS over time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from twisted.web.resource import Resource
from zope.interface import implementer

from imaginator.model.errors import ConfigurationError
from imaginator.model.expiry import TlsState
from imaginator.rpc.certificates import Wish, issue, make_authority, make_certificate, revoke
from imaginator.service.credentials import Files
from imaginator.service.listener import Listener, Place
from imaginator.service.port import Speech
from imaginator.service.renewal import Renewal
from imaginator.store.workers import Workers
from imaginator.web.site import BoundedSite

IN_TEN_DAYS = datetime.now(UTC) + timedelta(days=10)


@implementer(ILogObserver)
class Scene:
    """Files that are good, what keeps up with them, and what was said meanwhile."""

    def __init__(self, folder: Path) -> None:
        self.authority = make_authority("test authority")
        self.files = Files(folder / "CA.pem", folder / "cert.pem", folder / "key.pem", folder / "crl.pem")
        self.authority.write(self.files.authority, None)
        make_certificate(self.authority, "localhost", server=True).write(self.files.certificate, self.files.key)
        self.revocations = folder / "crl.pem"
        self.revocations.write_bytes(revoke(self.authority))
        self.listener = Listener(reactor, reactor, Place("127.0.0.1", 0), BoundedSite(Resource(), reactor))
        self.workers = Workers(1, reactor)  # type: ignore[arg-type]
        self.closed = "nobody told"
        self.now = datetime.now(UTC)
        self.renewal = Renewal(self.files, [self.listener], self.workers, lambda: self.now, self._close)
        self.said: list[str] = []

    def _close(self, reason: str) -> None:
        self.closed = reason

    @property
    def in_force(self) -> Any:
        """What meets a new TLS connection."""
        return self.listener._choose(Speech.TLS)

    def __call__(self, event: LogEvent) -> None:
        """Note what is worth a warning."""
        if event["log_level"] >= LogLevel.warn:
            self.said.append(formatEvent(event))


@pytest_twisted.async_yield_fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    """A scene that has begun."""
    scene = Scene(tmp_path)
    scene.workers.startService()
    globalLogPublisher.addObserver(scene)
    yield scene
    globalLogPublisher.removeObserver(scene)
    scene.workers.stopService()


@pytest_twisted.ensureDeferred
async def test_files_that_stay_are_not_read_again(scene: Scene) -> None:
    """And those that change are, each of them."""
    scene.renewal.begin()
    first = scene.in_force
    await scene.renewal.look()
    same = scene.in_force is first
    for path in (scene.files.authority, scene.files.certificate, scene.files.key, scene.revocations):
        before = scene.in_force
        path.write_bytes(path.read_bytes() + b"\n")
        await scene.renewal.look()
        assert before is not scene.in_force, path

    assert same
    assert ("", []) == (scene.closed, scene.said)


BROKEN = {
    "half a certificate": ("certificate", lambda data: data[:100]),
    "another certificate's key": ("key", lambda data: issue(make_authority("x"), Wish("x")).key_pem()),
    "no list": ("revocations", lambda data: b""),
    "a strange list": ("revocations", lambda data: revoke(make_authority("test authority"))),
    "half an authority": ("authority", lambda data: data + data[:100]),
}


@pytest.mark.parametrize("kind", BROKEN)
@pytest_twisted.ensureDeferred
async def test_files_that_are_no_good_change_nothing(scene: Scene, kind: str) -> None:
    """What was read before stays in force; the reason is logged once, and shown until the file is mended."""
    scene.renewal.begin()
    before, (field, spoil) = scene.in_force, BROKEN[kind]
    path: Path = getattr(scene.files, field)
    good = path.read_bytes()
    path.write_bytes(spoil(good))
    for _ in range(3):
        await scene.renewal.look()
    state, kept, said = scene.renewal.state, scene.in_force, list(scene.said)
    path.write_bytes(good)
    await scene.renewal.look()

    assert kept is before
    assert state.problem.startswith(f"{path}: ")
    assert [f"the certificates read before stay in force: {state.problem}"] == said
    assert [f"{state.problem}; what was read before stays in force"] == state.concerns(scene.now)
    assert 3 == len(state.expiries)
    assert ("", 1) == (scene.renewal.state.problem, scene.renewal.refusals)
    assert before is not scene.in_force


@pytest_twisted.ensureDeferred
async def test_an_absent_list_is_no_reason_to_forget_it(scene: Scene) -> None:
    """The list that was read before stays in force."""
    scene.renewal.begin()
    before = scene.in_force
    scene.revocations.unlink()
    await scene.renewal.look()

    assert before is scene.in_force
    assert "cannot be read: No such file" in scene.renewal.state.problem


@pytest_twisted.ensureDeferred
async def test_absent_files_close_tls(scene: Scene) -> None:
    """Whoever asks is told why; when they are back, so is TLS."""
    scene.renewal.begin()
    authority = scene.files.authority.read_bytes()
    scene.files.authority.unlink()
    await scene.renewal.look()
    closed, served, state = scene.closed, scene.in_force, scene.renewal.state
    scene.files.authority.write_bytes(authority)
    await scene.renewal.look()

    assert f"{scene.files.authority}: no such file: HTTPS and RPC need it" == closed
    assert served is None
    assert TlsState() == state
    assert ("", True) == (scene.closed, scene.in_force is not served)


@pytest_twisted.ensureDeferred
async def test_a_start_with_bad_files_fails(scene: Scene) -> None:
    """There is nothing before them that could stay in force."""
    scene.revocations.unlink()

    with pytest.raises(ConfigurationError, match=str(scene.revocations)):
        scene.renewal.begin()


@pytest_twisted.ensureDeferred
async def test_what_ends_soon_is_told(scene: Scene) -> None:
    """From thirty days before on, and again once it has ended."""
    scene.revocations.write_bytes(revoke(scene.authority, next_update=IN_TEN_DAYS))
    scene.renewal.begin()
    scene.now = IN_TEN_DAYS - timedelta(days=31)
    await scene.renewal.tell()
    early = list(scene.said)
    for now in (IN_TEN_DAYS - timedelta(days=29), IN_TEN_DAYS + timedelta(days=1)):
        scene.now = now
        await scene.renewal.tell()

    day = f"{IN_TEN_DAYS:%Y-%m-%d %H:%M UTC}: {scene.revocations}"
    told = [f"certificates: the list of revoked certificates {verb} {day}" for verb in ("expires on", "has expired on")]
    assert ([], told) == (early, scene.said)
