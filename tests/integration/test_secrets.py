"""Secrets planted in a running daemon's variables file, which then fails in every way: none is found anywhere after.

One Git server only refuses; another is real, and lets in who knows the password.
"""

from __future__ import annotations

import base64
import html
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import pytest

from demo.daemon import Daemon
from demo.site import Site, replace
from tests.support.git_server import serving
from tests.support.live import PROVING, Live
from tests.support.small_system import SMALL_PACKAGER, small_bootstrap

pytestmark = pytest.mark.integration

WORD = 'sw0rd/f+i@s%h&"<\\ of gold'
"""What the operator calls a password: something of everything that one encoding or another writes differently."""

SECRETS = {"PASSWORD": quote(WORD, safe=""), "TOKEN": WORD + "-token"}
MARKER = "planted-marker"
"""No secret, but planted at the same places: the search must find it."""

SCRIPT = f"#!/bin/sh\necho {MARKER}\nenv\ncat /proc/self/environ /proc/1/environ\nexit 1\n"


class Refusing(BaseHTTPRequestHandler):
    """A server of nothing: it asks for a password, sends elsewhere with it, is broken, or sends nonsense."""

    def do_GET(self) -> None:
        """Refuse in the way that the path says."""
        kind = self.path.strip("/").partition("/")[0]
        self.send_response({"redirect": 302, "broken": 500, "nonsense": 200}.get(kind, 401))
        if kind == "redirect":
            self.send_header("Location", f"/again/{quote(WORD)}{self.path}")
        self.send_header("WWW-Authenticate", 'Basic realm="x"')
        self.end_headers()
        self.wfile.write(b'{"Streams": oops}')

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@pytest.fixture(scope="module")
def refusing() -> Iterator[str]:
    """The address of a server that refuses everything."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def guarded(live: Live) -> Iterator[str]:
    """The address of the site's repository on a server that asks for the password."""
    with serving(live.site.folder, WORD) as address:
        yield f"{address}/at/{live.site.repository.name}/.git"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A daemon with secrets."""
    site = Site(tmp_path_factory.mktemp("secrets"))
    site.make_certificates()
    (site.folder / "manifests").mkdir()
    site.make_repository(site.folder / "manifests")
    variables = site.folder / "variables"
    variables.write_text(json.dumps(SECRETS))
    flags = (*PROVING, "--variables-file", str(variables), "--maximum-concurrent-builds", "20")
    live = Live(site, Daemon(site, *flags))
    site.configure({"small": small_bootstrap(site.folder)}, {}, SMALL_PACKAGER, ImageStreamsCheckInterval=1)
    live.daemon.start()
    yield live
    live.close()


class Watch:
    """Looks at all command lines all the time."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(0.005):
            for entry in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    self.seen.add(entry.read_bytes())
                except OSError:
                    continue


def forms(text: str) -> set[bytes]:
    """The ways in which a text may be printed."""
    written = {text, quote(text), quote(text, safe=""), html.escape(text), json.dumps(text)[1:-1]}
    written |= {"".join(f"%{byte:02x}" if chr(byte) in quote(text) else chr(byte) for byte in text.encode())}
    written |= {one.lower() for one in written}
    encoded = (base64.b64encode(b"\0" * lead + text.encode()) for lead in range(3))
    return {one.encode() for one in written} | {one[4:-4] for one in encoded}


def places_of(text: str, outputs: dict[str, bytes]) -> list[str]:
    """Where a text is found, in whatever form."""
    return [where for where, data in outputs.items() if any(form in data for form in forms(text))]


def definitions(live: Live, address: str, guarded: str) -> dict[str, dict[str, object]]:
    """Streams that fail, each in its own way, and two whose password is right: one runs until it is cancelled."""
    urls = {
        "refused": f"http://$TOKEN:$PASSWORD@{guarded}",
        "wrong": f"http://bot:$PASSWORD@{address}/x.git",
        "redirect": f"http://bot:$PASSWORD@{address}/redirect/x.git",
        "path": f"http://{address}/$PASSWORD/x.git",
        "unreachable": "http://bot:$PASSWORD@127.0.0.1:1/x.git",
        "git": "git://127.0.0.1:1/$PASSWORD.git",
        "ssh": "ssh://$PASSWORD@127.0.0.1:1/x.git",
        "scp": "git@127.0.0.1:$PASSWORD",
        "file": "file:///nowhere/$PASSWORD",
        "malformed": "https://$TOKEN",
        "nothing": "$TOKEN",
        "plain": "dir:///nowhere/$TOKEN",
    }
    streams: dict[str, dict[str, object]] = {name: {"ManifestUrl": url} for name, url in urls.items()}
    streams["missing"] = live.site.stream(MARKER + "-$TOKEN")
    streams["outside"] = live.site.stream("../$TOKEN")
    streams["variables"] = live.site.stream("script", Variables={"MINE": "$TOKEN"})
    streams["uses"] = live.site.stream("uses")
    streams["script"] = live.site.stream("script")
    for name in ("right", "cancelled"):
        streams[name] = {**live.site.stream(name), "ManifestUrl": f"http://$PASSWORD:$PASSWORD@{guarded}"}
    return streams


def manifests(live: Live) -> None:
    """One whose script prints all that it sees, one that waits, one that is good, and one that builds on a secret."""
    source = '{"SourceImage": "small"}'
    live.add_stream("script", {"manifest": source, "scripts/print": SCRIPT})
    live.add_stream("cancelled", {"manifest": source, "scripts/wait": "#!/bin/sh\necho waiting\nsleep 1000\n"})
    live.add_stream("right", {"manifest": source})
    live.add_stream("uses", {"manifest": '{"SourceImage": "base/$PASSWORD"}'})


def outputs(live: Live, builds: dict[str, str]) -> dict[str, bytes]:
    """Everything that the daemon says and keeps."""
    found = {str(path): path.read_bytes() for top in (live.site.state, live.site.logs) for path in top.rglob("*")
             if path.is_file() and "objects" not in path.parts and "layers" not in path.parts}  # fmt: skip
    found["stdout"] = live.daemon.log.read_bytes()
    found["RPC builds"] = json.dumps(live.call("Imaginator.ListBuilds", Limit=100)).encode()
    pages = ["/", "/showImageStreams", "/logs", "/metrics", "/listImages"]
    pages += [f"/{page}?{build}" for build in builds.values() for page in ("showBuild", "showBuildLog")]
    pages += [f"/showImageStream?{stream}" for stream in builds]
    with live.client() as client:
        for page in pages:
            with client.stream(page) as body:
                found[page] = body.read()
    return found


def ended(live: Live, build: str) -> bool:
    """Whether a build is over."""
    state: str = live.call("Imaginator.GetBuild", BuildId=build)["State"]
    return state in ("succeeded", "failed", "cancelled")


def wait(condition, what: str) -> None:  # type: ignore[no-untyped-def]
    """Ask until a condition holds; only a hang exceeds the limit."""
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def test_no_secret_is_found_anywhere(live: Live, refusing: str, guarded: str) -> None:
    """Every failure there is, then a search of logs, pages, RPC, the state directory and all command lines."""
    manifests(live)
    live.site.write_streams(definitions(live, refusing, guarded))
    with Watch() as watch:
        builds = {
            stream: live.call("Imaginator.SubmitBuild", StreamName=stream, ExpiresIn=3600)["BuildId"]
            for stream in definitions(live, refusing, guarded)
        }
        wait(lambda: "\nwaiting\n" in live.log(builds["cancelled"]), "a script that waits")
        live.call("Imaginator.CancelBuild", BuildId=builds["cancelled"])
        wait(lambda: all(ended(live, build) for build in builds.values()), "the end of all builds")
        said = outputs(live, builds)
        for kind in ("broken", "nonsense", "denied"):
            settings = json.loads(live.site.configuration.read_text())
            settings["ImageStreamsUrl"] = f"http://bot:$PASSWORD@{refusing}/{kind}/{MARKER}"
            settings["ImageStreamsCheckInterval"] = 1
            replace(live.site.configuration, json.dumps(settings))
            wait(lambda kind=kind: f"{kind}/{MARKER}".encode() in live.daemon.log.read_bytes(), kind)
        said |= {f"{place} after reload": data for place, data in outputs(live, builds).items()}
    said["command lines"] = b"\n".join(watch.seen)

    states = {stream: live.call("Imaginator.GetBuild", BuildId=build)["State"] for stream, build in builds.items()}
    assert {"right": "succeeded", "cancelled": "cancelled"} == {
        stream: state for stream, state in states.items() if state != "failed"
    }
    marked = places_of(MARKER, said)
    assert {"stdout after reload", "RPC builds", "/", f"/showBuildLog?{builds['missing']}"} <= set(marked)
    assert any(place.endswith(("catalogue.sqlite", "catalogue.sqlite-wal")) for place in marked)
    assert b"git" in said["command lines"]
    leaks = {name: places_of(text, said) for name, text in {**SECRETS, "WORD": WORD}.items()}
    assert {name: [] for name in leaks} == leaks
