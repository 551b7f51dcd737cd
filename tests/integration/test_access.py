"""Who may call what: every method, by every kind of caller, in both protocols, of a real daemon."""

from __future__ import annotations

import http.client
import json
import ssl
import urllib.error
import urllib.request
import xmlrpc.client
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest

from demo.daemon import Daemon
from demo.site import Site
from imaginator.rpc.certificates import Issued, Wish, issue, make_authority, revoke
from imaginator.rpc.identity import GROUPS_OID
from imaginator.rpc.methods import METHODS, Access
from tests.integration.test_bad_input import OVER_SMALL
from tests.support.live import PROVING, Live
from tests.support.small_system import SMALL_PACKAGER, small_bootstrap

pytestmark = pytest.mark.integration

NOW = datetime.now(UTC)
STREAM = "shared"
TRUST = ("--trusted-users", "root-user", "--trusted-groups", "root-group")
OWNERS = json.dumps({"Users": ["owner"], "Groups": ["owners"]})

HANDSHAKE, PLAIN, ANONYMOUS = "the handshake ends", "403, -32001", "401, -32001"
REFUSED, OK = "refused", "ok"

ANYONE = {Access.ANYONE, Access.OPENER}
EVERYTHING = set(Access)

IDENTITIES: dict[str, tuple[Wish, set[Access]]] = {
    "a stranger": (Wish("stranger"), ANYONE),
    "member of another group": (Wish("stranger", groups=["others"]), ANYONE),
    "builder by user": (Wish("builder"), ANYONE | {Access.BUILDERS}),
    "builder by group": (Wish("member", groups=["others", "builders"]), ANYONE | {Access.BUILDERS}),
    "requester": (Wish("carol"), ANYONE | {Access.BUILDERS, Access.REQUESTER, Access.OWNERS}),
    "owner by user": (Wish("owner"), ANYONE | {Access.OWNERS}),
    "owner by group": (Wish("member", groups=["owners"]), ANYONE | {Access.OWNERS}),
    "method by name": (Wish("named", methods=["Imaginator.BuildImage"]), ANYONE | {Access.BUILDERS}),
    "method by pattern": (Wish("pattern", methods=["Imaginator.*", "ImageServer.*"]), EVERYTHING),
    "other method": (Wish("other", methods=["Imaginator.Build", "Other.*"]), ANYONE),
    "every method": (Wish("all", methods=["*.*"]), EVERYTHING),
    "trusted user": (Wish("root-user"), EVERYTHING),
    "trusted group": (Wish("member", groups=["root-group"]), EVERYTHING),
}

NOBODY: dict[str, tuple[Wish, str]] = {
    "expired": (Wish("root-user", not_before=NOW - timedelta(days=2), not_after=NOW - timedelta(days=1)), HANDSHAKE),
    "not yet valid": (Wish("root-user", not_before=NOW + timedelta(days=1)), HANDSHAKE),
    "made for servers": (Wish("root-user", server=True), HANDSHAKE),
    "garbage for groups": (Wish("root-user", extensions={GROUPS_OID: b"\x30\x05garbage"}), ANONYMOUS),
    "two dots in a method": (Wish("root-user", methods=["A.b.c"]), ANONYMOUS),
    "without a name": (Wish("", methods=["*.*"]), ANONYMOUS),
}


class World(NamedTuple):
    """A daemon, the authority that it trusts, and the certificate that this has revoked."""

    live: Live
    authority: Issued
    revoked: Issued

    def certify(self, name: str, wish: Wish, authority: Issued | None = None) -> ssl.SSLContext:
        """What a caller with such a certificate shakes hands with."""
        return self.shown(name, issue(authority or self.authority, wish))

    def shown(self, name: str, certificate: Issued) -> ssl.SSLContext:
        """The same with a certificate that is there."""
        paths = self.live.site.certificate(name)
        certificate.write(*paths)
        context = self.anonymous()
        context.load_cert_chain(*paths)
        return context

    def anonymous(self) -> ssl.SSLContext:
        """What somebody without a certificate shakes hands with."""
        return ssl.create_default_context(cafile=self.live.site.authority)

    def outcome(self, protocol: str, context: ssl.SSLContext | None, method: str) -> str:
        """What comes of a call; without a context it is sent over plain HTTP."""
        path, kind, encode, decode = PROTOCOLS[protocol]
        port = self.live.daemon.port
        plain = http.client.HTTPConnection("localhost", port)
        connection = http.client.HTTPSConnection("localhost", port, context=context) if context else plain
        body = encode(method, REQUESTS[method](self.live))
        try:
            with closing(connection):
                connection.request("POST", path, body, {"Content-Type": kind, "Connection": "close"})
                answer = connection.getresponse()
                code = decode(answer.read())
        except (ssl.SSLError, ConnectionError):
            return HANDSHAKE
        if answer.status != 200:
            return f"{answer.status}, {code}"
        return REFUSED if code == -32002 else OK


def in_json(method: str, parameters: dict[str, object]) -> bytes:
    """A call of JSON-RPC."""
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}).encode()


def in_xml(method: str, parameters: dict[str, Any]) -> bytes:
    """A call of XML-RPC."""
    return xmlrpc.client.dumps((parameters,), method).encode()


def code_of_json(answer: bytes) -> int:
    """The code of an error, 0 for a result."""
    return int(json.loads(answer).get("error", {"code": 0})["code"])


def code_of_xml(answer: bytes) -> int:
    """The same of XML-RPC."""
    try:
        xmlrpc.client.loads(answer.decode())
    except xmlrpc.client.Fault as fault:
        return fault.faultCode
    return 0


PROTOCOLS = {
    "JSON-RPC": ("/jsonrpc", "application/json", in_json, code_of_json),
    "XML-RPC": ("/RPC2", "text/xml", in_xml, code_of_xml),
}


def an_image(live: Live) -> str:
    """An image of carol's that is there."""
    there = set(live.images(STREAM))
    builds = live.call("Imaginator.ListBuilds", Requester="carol", State="succeeded")["Builds"]
    names = [build["ImageName"] for build in builds if build["ImageName"] in there]
    return str((names or [carols(live)["ImageName"]])[0])


def carols(live: Live) -> dict[str, str]:
    """Let carol build."""
    with live.client("carol") as client:
        built: dict[str, str] = client.call("Imaginator.BuildImage", **BUILD)
    return built


def a_build(live: Live) -> str:
    """A build that carol has asked for."""
    builds = live.call("Imaginator.ListBuilds", Requester="carol")["Builds"]
    return str((builds or [carols(live)])[0]["BuildId"])


SOON = (NOW + timedelta(minutes=20)).isoformat()
BUILD = {"StreamName": STREAM, "ExpiresIn": 3600, "MaxSourceAge": 86400}
REQUESTS: dict[str, Callable[[Live], dict[str, object]]] = {
    "Imaginator.BuildImage": lambda _: {**BUILD},
    "Imaginator.SubmitBuild": lambda _: {**BUILD},
    "Imaginator.GetBuild": lambda live: {"BuildId": a_build(live)},
    "Imaginator.ListBuilds": lambda _: {"Limit": 1},
    "Imaginator.CancelBuild": lambda live: {"BuildId": a_build(live)},
    "Imaginator.StartAutoBuilds": lambda _: {},
    "Imaginator.DisableAutoBuilds": lambda _: {"DisableFor": 0},
    "Imaginator.DisableBuildRequests": lambda _: {"DisableFor": 0},
    "Imaginator.GetDependencies": lambda _: {"MaxAge": 3600},
    "Imaginator.GetDirectedGraph": lambda _: {"MaxAge": 3600},
    "Imaginator.WriteToShell": lambda _: {"ShellId": "none"},
    "ImageServer.ListImages": lambda _: {},
    "ImageServer.FindLatestImage": lambda _: {"StreamName": STREAM},
    "ImageServer.GetImage": lambda live: {"ImageName": an_image(live)},
    "ImageServer.ChangeImageExpiration": lambda live: {"ImageName": an_image(live), "ExpiresAt": SOON},
    "ImageServer.DeleteImage": lambda live: {"ImageName": an_image(live)},
    "system.listMethods": lambda _: {},
    "system.methodHelp": lambda _: {"MethodName": "Imaginator.BuildImage"},
    "rpc.discover": lambda _: {},
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A daemon whose one stream has builders, and whose images have owners."""
    site = Site(tmp_path_factory.mktemp("access") / "site")
    authority = site.make_certificates()
    (site.folder / "manifests").mkdir()
    site.make_repository(site.folder / "manifests")
    site.configure({"small": small_bootstrap(site.folder)}, {}, SMALL_PACKAGER)
    revoked = issue(authority, Wish("root-user"))
    lists = site.certificates / "lists.pem"
    lists.write_bytes(revoke(authority, revoked))
    live = Live(site, Daemon(site, *PROVING, *TRUST, "--crl-file", str(lists)))
    live.daemon.start()
    live.build("small")
    builders = {"BuilderUsers": ["builder", "carol"], "BuilderGroups": ["builders"]}
    live.add_stream(STREAM, {"manifest": OVER_SMALL, "owners.json": OWNERS}, **builders)
    issue(authority, Wish("carol")).write(*site.certificate("carol"))
    yield World(live, authority, revoked)
    live.close()


def outcomes(world: World, protocol: str, context: ssl.SSLContext | None) -> dict[str, str]:
    """What comes of a call of each method."""
    return {method: world.outcome(protocol, context, method) for method in METHODS}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("who", IDENTITIES)
def test_identities(world: World, protocol: str, who: str) -> None:
    """Those whom a method is for are served, others are refused."""
    wish, rights = IDENTITIES[who]
    expected = {name: OK if method.access in rights else REFUSED for name, method in METHODS.items()}

    assert expected == outcomes(world, protocol, world.certify("caller", wish))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("who", NOBODY)
def test_nobody(world: World, protocol: str, who: str) -> None:
    """A certificate that is no good lets nobody in, whoever it names."""
    wish, expected = NOBODY[who]

    assert dict.fromkeys(METHODS, expected) == outcomes(world, protocol, world.certify("nobody", wish))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", ["elsewhere", "imaginator demonstration"])
def test_foreign_authority(world: World, protocol: str, name: str) -> None:
    """Nor does one of another authority, whatever that calls itself."""
    context = world.certify("foreign", Wish("root-user"), make_authority(name))

    assert dict.fromkeys(METHODS, HANDSHAKE) == outcomes(world, protocol, context)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_revoked(world: World, protocol: str) -> None:
    """Nor does one that its authority has revoked."""
    assert dict.fromkeys(METHODS, HANDSHAKE) == outcomes(world, protocol, world.shown("revoked", world.revoked))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_without_certificate(world: World, protocol: str) -> None:
    """TLS without a certificate, and plain HTTP, are answered and not served."""
    assert dict.fromkeys(METHODS, ANONYMOUS) == outcomes(world, protocol, world.anonymous())
    assert dict.fromkeys(METHODS, PLAIN) == outcomes(world, protocol, None)


def test_every_method_is_asked_for() -> None:
    """A new method needs a row here."""
    assert set(METHODS) == set(REQUESTS)


def test_nothing_was_executed(world: World) -> None:
    """Those who were let in by nobody have left no trace."""
    callers = {build["Requester"] for build in world.live.call("Imaginator.ListBuilds", Limit=1000)["Builds"]}
    builders = {wish.user for wish, rights in IDENTITIES.values() if Access.BUILDERS in rights}

    assert callers <= {"user", "imaginator", "carol", *builders}


def test_downloads_need_a_certificate(world: World) -> None:
    """The content of images is not for everybody who reaches the port."""
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(world.live.daemon.url + f"getImage?{an_image(world.live)}")
    with caught.value as answer:
        assert 403 == answer.status
