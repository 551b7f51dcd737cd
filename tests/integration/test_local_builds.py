"""Builds without a daemon: images, trees and processed roots, over every origin of a source image."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import pty
import signal
import ssl
import stat
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

import pytest
from zstandard import ZstdDecompressor

from demo.daemon import Daemon
from imaginator.cli.commands import COMMANDS
from imaginator.cli.scratch import PREFIX
from imaginator.sandbox.delegation import ROOT as LIMITS
from imaginator.service.checks import locked
from tests.integration.conftest import new_site
from tests.integration.test_bad_input import poll
from tests.support.live import PROVING, Live, processes
from tests.support.small_system import SMALL_PACKAGER, small_bootstrap

pytestmark = pytest.mark.integration

SMALL = '{"SourceImage": "small", "FilterLines": ["/etc/left-out$"]}'
GREETING = {
    "manifest": SMALL,
    "files/etc/greeting": "hello",
    "files/etc/left-out": "no",
    "scripts/1": "#!/bin/sh\necho loud words\necho $IMAGE_STREAM $COLOUR > /etc/seen\n",
    "tests/sane": "#!/bin/sh\ntest -s /etc/seen\n",
}
BROKEN = {**GREETING, "scripts/2": "#!/bin/sh\necho last words\nexit 3\n"}
PACKAGER = '#!/bin/sh\ncase $1 in run) shift; exec "$@";; esac\n'
PATIENCE = 60.0
LOOPS = Path("/sys/block")


class Said(NamedTuple):
    """What a run of the tool printed, and its exit status."""

    out: str
    err: str
    status: int


class Bench:
    """A folder with manifests and a local store; ``live`` is a daemon that is asked for nothing unless it is named."""

    def __init__(self, folder: Path, live: Live) -> None:
        self.folder = folder
        self.live = live
        self.state = folder / "store"
        self.environment = {**os.environ, "HOME": str(folder), "TMPDIR": str(folder)}

    def manifest(self, name: str, files: dict[str, str]) -> str:
        """The path of a manifest of these files."""
        for path, text in files.items():
            target = self.folder / name / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
            target.chmod(0o755 if text.startswith("#!") else 0o644)
        return str(self.folder / name)

    def run(self, *arguments: str, group: tuple[str, ...] = ()) -> Said:
        """Run the tool in the folder, over a configuration that has the small system unless a daemon is named."""
        command = self.command(*arguments, group=group)
        ended = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=PATIENCE
        )
        return Said(ended.stdout, ended.stderr, ended.returncode)

    def command(self, *arguments: str, group: tuple[str, ...] = ()) -> list[str]:
        """The command line of the tool."""
        program = self.live.tool_command()[0]
        return [program, *group, *arguments]

    def store(self, *arguments: str) -> tuple[str, ...]:
        """Options for the local store."""
        return ("--state-dir", str(self.state), *arguments)

    def configured(self, *arguments: str) -> tuple[str, ...]:
        """The same, and the daemon's own configuration."""
        return self.store("--configuration-url", str(self.live.site.configuration), *arguments)

    def named(self) -> tuple[str, ...]:
        """The group's options that name the daemon."""
        return tuple(self.live.tool_command()[1:])

    @property
    def log(self) -> str:
        """The build log of the last run."""
        return (self.folder / "build.log").read_text()

    def check_clean(self) -> None:
        """No build has left a workspace, a process or a mount."""
        assert [] == list((self.state / "builds").glob("*"))
        assert str(self.folder) not in Path("/proc/self/mounts").read_text()
        assert [] == [command for _, command in processes() if str(self.folder) in command]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A daemon with the small system and a stream over it."""
    site = new_site(tmp_path_factory.mktemp("lender"))
    live = Live(site, Daemon(site, *PROVING))
    site.configure({"small": small_bootstrap(site.folder)}, {}, SMALL_PACKAGER)
    live.daemon.start()
    yield live
    live.close()


@pytest.fixture
def bench(tmp_path: Path, live: Live) -> Iterator[Bench]:
    """A bench with nothing in its store; afterwards nothing is left of its builds."""
    bench = Bench(tmp_path, live)
    yield bench
    bench.check_clean()


def test_image_over_a_configuration(bench: Bench) -> None:
    """The source is built first, once; the image's name is all of the output, the log is in a file, too."""
    manifest = bench.manifest("greeting", GREETING)
    first = bench.run("build-from-manifest", *bench.configured("--variable", "COLOUR=blue"), manifest, "test/app")
    second = bench.run("build-from-manifest", *bench.store("--json"), manifest, "test/app")

    assert (0, 0) == (first.status, second.status), first.err + second.err
    assert first.out.startswith("test/app/2")
    assert {"loud words", "source image small: building it first", "=== bootstrap"} <= set(first.err.splitlines())
    assert "=== bootstrap" not in second.err
    assert second.err == bench.log
    assert first.out.strip() < json.loads(second.out)["ImageName"]


def test_tree(bench: Bench) -> None:
    """It is what the image holds, of every owner, in a new directory or in one that is named."""
    manifest = bench.manifest("greeting", GREETING)
    said = bench.run("build-tree-from-manifest", *bench.configured("--variable", "COLOUR=red"), manifest)
    named = bench.run("build-tree-from-manifest", *bench.store("-o", "there", "--stream", "a/b"), manifest)

    tree = Path(said.out.strip())
    assert (0, f"{bench.folder}/there\n") == (named.status, named.out), named.err
    assert bench.folder == tree.parent
    assert ("hello", "greeting red\n") == ((tree / "etc/greeting").read_text(), (tree / "etc/seen").read_text())
    assert "a/b\n" == (bench.folder / "there/etc/seen").read_text()
    assert not (tree / "etc/left-out").exists()
    assert stat.S_IMODE((tree / "tmp").stat().st_mode) == 0o1777
    assert (tree / "tests/greeting/sane").exists()


def test_output_that_is_not_empty(bench: Bench) -> None:
    """It is refused before anything is built, as is a directory in nothing."""
    manifest = bench.manifest("greeting", GREETING)
    refused = bench.run("build-tree-from-manifest", *bench.configured("-o", "greeting"), manifest)
    nowhere = bench.run("build-tree-from-manifest", *bench.configured("-o", "no/where"), manifest)

    assert (1, "", f"Error: {manifest}: expected an empty directory or none\n") == (
        refused.status, refused.out, refused.err,
    )  # fmt: skip
    assert f"Error: {bench.folder}/no: no such directory\n" == nowhere.err
    assert not bench.state.exists()


def test_image_over_a_daemons(bench: Bench) -> None:
    """The source image comes from the daemon with all that is said of it, once."""
    metadata = {
        "manifest": '{"SourceImage": "small"}',
        "files/etc/made-elsewhere": "",
        "scripts/1": "mkdir /etc/x\necho 1 > /etc/x/one\nln /etc/x/one /etc/x/two\ntouch -d 2001-01-01 /etc/x\n",
        "computed-files.json": '[{"Filename": "/etc/made-elsewhere", "Source": "files.example:8000"}]',
        "triggers": '[{"MatchLines": ["/etc/x"], "Service": "x"}]',
        "filter": "/var/log/.*\n",
        "tags.json": '{"kind": "lent"}',
        "owners.json": '{"Users": ["alice"]}',
    }
    bench.live.add_stream("lent", metadata)
    lent = bench.live.build("lent")["ImageName"]
    adding = {
        "manifest": '{"SourceImage": "lent", "SourceImageTagsToMatch": {"kind": ["lent"]}}',
        "computed-files.add.json": "[]",
        "triggers.add": "[]",
        "filter.add": "/var/spool/.*\n",
    }
    manifest = bench.manifest("adding", adding)
    first = bench.run("build-from-manifest", *bench.store(), manifest, "app", group=bench.named())
    again = bench.run("build-from-manifest", *bench.store(), manifest, "app", group=bench.named())
    alone = bench.run("build-from-manifest", *bench.store(), manifest, "app")

    assert (0, 0, 0) == (first.status, again.status, alone.status), first.err
    assert f"source image {lent}: fetched from the daemon" in first.err
    assert f"source image: {lent}\n" in alone.err
    assert "fetched" not in again.err + alone.err
    serving = serve(bench)
    try:
        there, here = (details(live, name) for live, name in ((bench.live, lent), (serving, lent)))
        made = details(serving, first.out.strip())
    finally:
        serving.close()
    here["Figures"] = there["Figures"]  # which of its objects were new differs
    assert there == here
    assert [{"Filename": "/etc/made-elsewhere", "Source": "files.example:8000"}] == made["ComputedFiles"]
    assert (["/var/log/.*", "/var/spool/.*"], "x") == (made["Filter"], made["Triggers"][0]["Service"])


def serve(bench: Bench) -> Live:
    """A daemon over the local store: it is one like any other."""
    site = new_site(bench.folder / "serving")
    site.state = bench.state
    site.configure({}, {}, SMALL_PACKAGER)
    live = Live(site, Daemon(site))
    live.daemon.start()
    return live


def details(live: Live, name: str) -> dict[str, Any]:
    """All that a daemon says of an image."""
    answer: dict[str, Any] = live.call("ImageServer.GetImage", ImageName=name)
    return answer


def test_no_origin(bench: Bench) -> None:
    """One sentence says the three ways, in the order in which they are tried."""
    said = bench.run("build-from-manifest", *bench.store("--json"), bench.manifest("greeting", GREETING), "app")
    failure = json.loads(said.out)["Failure"]

    assert (1, "source-image-needed") == (said.status, failure["Kind"])
    assert failure["Message"] == (
        f"no source image: small: the local store {bench.state} has none; no daemon is named (builder-tool"
        " --imaginator-hostname HOST); there is no configuration to build it by (--configuration-url URL)"
    )


def test_failure(bench: Bench) -> None:
    """What failed is told after the log, and nothing half-made stays; the next build goes on from there."""
    broken = bench.run("build-from-manifest", *bench.configured(), bench.manifest("broken", BROKEN), "app")
    good = bench.run("build-tree-from-manifest", *bench.store(), bench.manifest("greeting", GREETING))

    assert (1, "") == (broken.status, broken.out)
    assert broken.err.endswith("Error: scripts/2: exit status 3\nlast words\n")
    assert f"the whole log is in {bench.folder}/build.log" in broken.err
    assert 0 == good.status


def test_source_that_cannot_be_built(bench: Bench) -> None:
    """Its failure is the build's."""
    configuration = bench.folder / "conf.json"
    settings = json.loads(bench.live.site.configuration.read_text())
    settings["BootstrapStreams"]["small"]["BootstrapCommand"] = ["sh", "-c", "echo no mirror; exit 7"]
    configuration.write_text(json.dumps(settings))
    options = bench.store("--configuration-url", "conf.json")
    said = bench.run("build-from-manifest", *options, bench.manifest("greeting", GREETING), "app")

    assert 1 == said.status
    assert "Error: source image small: sh: exit status 7\nno mirror\n" in said.err


def test_store_in_use(bench: Bench) -> None:
    """Another process that works on the store is told of, a daemon or a second tool."""
    bench.state.mkdir()
    with locked(bench.state / "lock"):
        said = bench.run("build-from-manifest", *bench.store(), bench.manifest("greeting", GREETING), "app")

    assert ("", 1) == (said.out, said.status)
    assert f"Error: {bench.state}: another imaginator or builder-tool uses this directory\n" == said.err


@pytest.mark.parametrize("terminal", [False, True], ids=["piped", "terminal"])
def test_interrupted(bench: Bench, terminal: bool) -> None:
    """Ctrl-C ends the build: nothing runs, is mounted or lies about, and the next one begins at once."""
    bench.run("build-from-manifest", *bench.configured(), bench.manifest("greeting", GREETING), "app")
    sleeping = {"manifest": SMALL, "scripts/1": "#!/bin/sh\nsleep 4712\n"}
    command = bench.command("build-from-manifest", *bench.store(), bench.manifest("sleeping", sleeping), "app")
    keyboard, screen = pty.openpty()
    stream = screen if terminal else subprocess.PIPE
    tool = subprocess.Popen(
        command, cwd=bench.folder, env=bench.environment, stdin=screen, stdout=subprocess.PIPE, stderr=stream, text=True
    )
    try:
        poll(lambda: any("sleep 4712" in command for _, command in processes()), "the script")
        tool.send_signal(signal.SIGINT)
        out, err = tool.communicate(timeout=PATIENCE)
    finally:
        tool.kill()
        os.close(screen)
    err = "".join(said(keyboard)) if terminal else err

    assert (1, "") == (tool.returncode, out)
    assert "Error: interrupted" in err
    assert not any("sleep 4712" in command for _, command in processes())
    assert ("\x1b[2K" in err, "=== scripts" in err) == (terminal, not terminal or "=== scripts" in err)
    bench.check_clean()


NAP = "4713"
NAPPING = {"manifest": SMALL, "scripts/1": "#!/bin/sh\nsleep $NAP\n"}
KILLED = {
    "build-from-manifest": ["{manifest}", "app"],
    "build-tree-from-manifest": ["-o", "tree", "{manifest}"],
    "process-manifest": ["{manifest}", "root"],
}


@pytest.mark.parametrize("command", KILLED)
def test_killed(bench: Bench, command: str) -> None:
    """SIGKILL to the tool ends all that it has begun; the next one removes what it could not, and succeeds."""
    words = [word.format(manifest=bench.manifest("napping", NAPPING)) for word in KILLED[command]]
    if command == "process-manifest":
        new_root(bench)
        options: tuple[str, ...] = ()
    else:
        options = bench.store()
        bench.run("build-tree-from-manifest", *bench.configured(), bench.manifest("greeting", GREETING))
    argv = bench.command(command, *options, "--variable", f"NAP={NAP}", *words)
    tool = subprocess.Popen(argv, cwd=bench.folder, env=bench.environment, stderr=subprocess.DEVNULL)
    poll(lambda: any(f"sleep {NAP}" in command for _, command in processes()), "the script")
    tool.kill()
    tool.wait()
    poll(lambda: not traces(bench, tool.pid), "the end of all that the tool has begun")
    left = list(bench.folder.glob(f"{PREFIX}*")) or list((bench.state / "builds").iterdir())
    again = bench.run(command, *options, "--variable", "NAP=0", *words)

    assert left
    assert (0, True) == (again.status, bool(again.out)), again.err
    assert [] == list(bench.folder.glob(f"{PREFIX}*"))
    assert [] == [path for path in left if path.exists()]
    assert [] == list(LIMITS.glob(f"**/imaginator/{tool.pid}.*"))


def test_killed_before_its_source(bench: Bench) -> None:
    """The same where it was the source image that was being built."""
    settings = json.loads(bench.live.site.configuration.read_text())
    bootstrap = settings["BootstrapStreams"]["small"]
    bootstrap["BootstrapCommand"] = ["sh", "-c", f"sleep {NAP}"]
    (bench.folder / "conf.json").write_text(json.dumps(settings))
    options = bench.store("--configuration-url", "conf.json")
    argv = bench.command("build-from-manifest", *options, bench.manifest("greeting", GREETING), "app")
    tool = subprocess.Popen(argv, cwd=bench.folder, env=bench.environment, stderr=subprocess.DEVNULL)
    poll(lambda: any(command.startswith(f"sleep {NAP}") for _, command in processes()), "the bootstrap command")
    tool.kill()
    tool.wait()
    poll(lambda: not traces(bench, tool.pid), "the end of all that the tool has begun")
    again = bench.run("build-from-manifest", *bench.configured(), bench.manifest("greeting", GREETING), "app")

    assert (0, True) == (again.status, again.out.startswith("app/2")), again.err


def traces(bench: Bench, tool: int) -> list[str]:
    """The commands of a tool that run, processes that see a mount of its, and loop devices over its files."""
    napping = [command for _, command in processes() if f"sleep {NAP}" in command]
    seen = [f"{pid} has a mount" for pid, _ in processes() if pid != tool and sees(pid, bench.folder)]
    return napping + seen + [str(path) for path in LOOPS.glob("loop*/loop/backing_file") if lies(path, bench.folder)]


def sees(pid: int, folder: Path) -> bool:
    """Whether a process has a mount of a folder's in its namespace."""
    try:
        return str(folder) in Path(f"/proc/{pid}/mountinfo").read_text(errors="replace")
    except OSError:
        return False


def lies(backing: Path, folder: Path) -> bool:
    """Whether a loop device has its file in a folder."""
    try:
        return backing.read_text().startswith(str(folder))
    except OSError:
        return False


def test_the_images_of_a_store(bench: Bench) -> None:
    """They are listed, shown, fetched, kept longer and deleted without a daemon, by the commands that ask one."""
    bench.run("build-from-manifest", *bench.configured(), bench.manifest("greeting", GREETING), "app")
    listed = bench.run("list-images", "--json", *bench.store())
    small, app = sorted((image["Name"] for image in json.loads(listed.out)), reverse=True)
    shown = bench.run("show-image", *bench.store(), "app")
    bench.run("get-image", *bench.store(), "app", "-o", "fetched")
    for archive in ("app.tar", "app.tar.zst"):
        bench.run("get-image", *bench.store(), "app", "-o", archive)
    kept = bench.run("change-image-expiration", *bench.store(), "app", "never")
    deleted = bench.run("delete-image", *bench.store(), app)
    again = bench.run("delete-image", *bench.store(), app)
    left = bench.run("list-images", *bench.store())

    assert f"Image: {app}\n" in shown.out
    assert "hello" == (bench.folder / "fetched/etc/greeting").read_text()
    packed = (bench.folder / "app.tar.zst").read_bytes()
    assert (bench.folder / "app.tar").read_bytes() == ZstdDecompressor().decompressobj().decompress(packed)
    assert ("", f"{app} expires never\n", 0) == kept
    assert ("", f"{app} was deleted\n", 0) == deleted
    assert ("", f"Error: no such image: {app}\n", 1) == again
    assert [small] == [line.split()[0] for line in left.out.splitlines()[1:]]
    assert 1 == len(list((bench.state / "layers").iterdir()))


@pytest.mark.parametrize("command", [("list-images",), ("delete-image", "app/2026-11-22:23:38:05")])
def test_no_store_to_ask(bench: Bench, command: tuple[str, ...]) -> None:
    """One that is not there is not made; one in use is told of."""
    missing = bench.run(*command, *bench.store())
    bench.run("build-from-manifest", *bench.configured(), bench.manifest("greeting", GREETING), "app")
    with locked(bench.state / "lock"):
        busy = bench.run(*command, *bench.store())

    assert ("", f"Error: {bench.state}: there is no local store\n", 1) == missing
    assert ("", f"Error: {bench.state}: another imaginator or builder-tool uses this directory\n", 1) == busy


@pytest.mark.parametrize("silent_at", ["ImageServer.GetImage", "/getImage"])
def test_interrupted_while_a_daemon_is_silent(bench: Bench, silent_at: str) -> None:
    """A source image that does not come is not waited for any more."""
    with SilentDaemon(bench.live, silent_at) as daemon:
        group = (*bench.named(), "--imaginator-port", str(daemon.server_port))
        manifest = bench.manifest("greeting", GREETING)
        command = bench.command("build-from-manifest", *bench.store(), manifest, "app", group=group)
        tool = subprocess.Popen(
            command, cwd=bench.folder, env=bench.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            assert daemon.silent.wait(PATIENCE)
            tool.send_signal(signal.SIGINT)
            out, err = tool.communicate(timeout=PATIENCE)
        finally:
            tool.kill()

    assert (1, "") == (tool.returncode, out)
    assert err.endswith("Error: interrupted\n")


class SilentDaemon(http.server.ThreadingHTTPServer):
    """Says what a daemon says of its latest small image, until something is asked for at which it falls ``silent``."""

    def __init__(self, live: Live, silent_at: str) -> None:
        super().__init__(("127.0.0.1", 0), Exchange)
        name = live.build("small")["ImageName"]
        self.answers = {"ImageServer.FindLatestImage": {"ImageName": name}, "ImageServer.GetImage": details(live, name)}
        self.silent_at = silent_at
        self.silent, self.over = threading.Event(), threading.Event()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*live.site.certificate("imaginator"))
        self.socket = context.wrap_socket(self.socket, server_side=True)

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.shutdown()
        self.server_close()


class Exchange(http.server.BaseHTTPRequestHandler):
    """One connection to a silent daemon."""

    server: SilentDaemon
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """A call."""
        call = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if call["method"] == self.server.silent_at:
            self._fall_silent()
        answer = json.dumps(
            {"jsonrpc": "2.0", "id": call["id"], "result": self.server.answers[call["method"]]}
        ).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def do_GET(self) -> None:
        """An archive that does not go on."""
        self.send_response(200)
        self.send_header("Content-Length", str(1 << 30))
        self.end_headers()
        self._fall_silent()

    def _fall_silent(self) -> None:
        self.close_connection = True
        self.server.silent.set()
        self.server.over.wait()


def said(terminal: int) -> Iterator[str]:
    """What was written to a terminal whose other end is closed."""
    with open(terminal, "rb", buffering=0) as reader, contextlib.suppress(OSError):
        while data := reader.read(4096):
            yield data.decode(errors="replace")


def test_process_manifest(bench: Bench) -> None:
    """The root is changed in place, by its own programs alone, without filter and tests."""
    root = new_root(bench)
    manifest = {**GREETING, "scripts/2": "#!/bin/sh\nls / > /etc/top\n", "tests/sane": "#!/bin/sh\nexit 1\n"}
    said = bench.run("process-manifest", "--variable", "COLOUR=x", bench.manifest("greeting", manifest), str(root))

    assert (0, f"{root}\n") == (said.status, said.out), said.err
    assert ("hello", "greeting x\n") == ((root / "etc/greeting").read_text(), (root / "etc/seen").read_text())
    assert (root / "etc/left-out").exists()
    assert not (root / "tests").exists()
    assert {path.name for path in root.iterdir()} == set((root / "etc/top").read_text().split())
    assert "keep" == (root / "mine").read_text()
    assert bench.log == said.err


def test_process_manifest_that_fails(bench: Bench) -> None:
    """What was done before stays done; no command and no mount does."""
    root = new_root(bench)
    said = bench.run("process-manifest", "--json", bench.manifest("broken", BROKEN), str(root))

    assert (1, "scripts/2: exit status 3\nlast words") == (said.status, json.loads(said.out)["Failure"]["Message"])
    assert "hello" == (root / "etc/greeting").read_text()


def test_process_manifest_of_the_host(bench: Bench) -> None:
    """The host's own root is never taken for one."""
    said = bench.run("process-manifest", bench.manifest("greeting", GREETING), "/")

    assert (2, "") == (said.status, said.out)
    assert "it is the host's own root" in said.err


def new_root(bench: Bench) -> Path:
    """A small system in a directory of its owner's."""
    root = bench.folder / "root"
    root.mkdir()
    subprocess.run([*small_bootstrap(bench.folder)[:2], root], check=True)
    (root / "bin/generic-packager").write_text(PACKAGER)
    (root / "bin/generic-packager").chmod(0o755)
    (root / "mine").write_text("keep")
    return root


def test_every_local_command_is_here() -> None:
    """A new command that builds by itself needs a test here."""
    local = {name for name, row in COMMANDS.items() if row.module == "building"}

    assert {"build-from-manifest", "build-tree-from-manifest", "process-manifest"} == local
