"""Every command of builder-tool on a terminal and piped, for people and for programs, with each exit status."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import pty
import shlex
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from demo.daemon import Daemon
from imaginator.cli.commands import COMMANDS
from imaginator.rpc.client import RpcError
from tests.integration.conftest import new_site
from tests.support.live import PROVING, Live
from tests.support.small_system import SMALL_PACKAGER, small_bootstrap

pytestmark = pytest.mark.integration

PATIENCE = 60.0
SMALL = '{"SourceImage": "small"}'
PACKAGER = '#!/bin/sh\ncase $1 in run) shift; exec "$@";; esac\n'


class Row(NamedTuple):
    """The arguments with which a command works; ``result``: whether people get one; ``json``: whether programs do.

    Words in braces are what `Stage.words` has. ``fails`` are arguments of one that asks no daemon, with which it fails;
    one that asks fails where there is none.
    """

    works: str = ""
    result: bool = True
    json: bool = True
    fails: str = ""


LOCAL = "--state-dir {folder}/store --configuration-url {folder}/conf.json"
ROWS = {
    "build-image": Row("over"),
    "list-builds": Row(),
    "cancel-build": Row("{build}", result=False),
    "shell": Row("{build} true", result=False, json=False),
    "build-from-manifest": Row(f"{LOCAL} {{folder}}/good app", fails=f"{LOCAL} {{folder}}/bad app"),
    "build-tree-from-manifest": Row(f"{LOCAL} {{folder}}/good", fails=f"{LOCAL} {{folder}}/bad"),
    "process-manifest": Row("{folder}/good {folder}/root", fails="{folder}/bad {folder}/root"),
    "disable-auto-builds": Row("--disable-for 0", result=False),
    "disable-build-requests": Row("--disable-for 0", result=False),
    "enable-auto-builds": Row(result=False),
    "enable-build-requests": Row(result=False),
    "start-auto-builds": Row("--wait-to-start --wait-for-complete", result=False),
    "list-images": Row(),
    "show-image": Row("small"),
    "get-image": Row("small -o {folder}/image.tar", result=False),
    "change-image-expiration": Row("small 2h", result=False),
    "delete-image": Row("{image}", result=False),
    "get-dependencies": Row(),
    "get-digraph": Row(),
    "check-manifest": Row("{folder}/good", result=False, fails="{folder}/bad"),
    "check-config": Row("{folder}/conf.json", result=False, fails="{folder}/missing.json"),
    "make-certificates": Row("{folder}/pki --user {fresh}", fails="{folder}/pki --user a/b"),
    "completion": Row("bash", json=False),
}

LEFT_OUT = (
    "builds.example",  # another host
    "01KB3Q0YF8Z5M4V7T2R9N6D1HC",  # a build,
    "2026-11-22:23:38:05",  # and an image, of another time
    "/var/lib/builder-tool",  # this host's own store
)
"""What stands in examples that cannot be run here."""


class Said(NamedTuple):
    """What a run of the tool printed, and its exit status."""

    out: str
    err: str
    status: int


class Stage:
    """A daemon with a build that failed and an image, and a folder with manifests."""

    def __init__(self, live: Live, folder: Path) -> None:
        self.live = live
        self.folder = folder
        self.failed = ""
        self._numbers = itertools.count()
        self.environment = {**os.environ, "HOME": str(folder), "TMPDIR": str(folder)}

    def words(self, command: str) -> dict[str, str]:
        """What stands for the words in braces of a command's row; an image that can be deleted is a new one."""
        image = self.live.build("over")["ImageName"] if command == "delete-image" else ""
        fresh = f"user{next(self._numbers)}"
        return {"folder": str(self.folder), "build": self.failed, "image": image, "fresh": fresh}

    def argv(self, command: str, arguments: str, *options: str, port: int = 0) -> list[str]:
        """The command line; with a ``port``, of a daemon that is there."""
        program, *group = self.live.tool_command()
        if port:
            group[group.index("--imaginator-port") + 1] = str(port)
        asks = not ROWS[command].fails
        return [program, *(group if asks else []), command, *options, *arguments.format(**self.words(command)).split()]

    def piped(self, argv: list[str]) -> Said:
        """Run the tool without a terminal."""
        ended = subprocess.run(
            argv, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=PATIENCE
        )
        return Said(ended.stdout, ended.stderr, ended.returncode)

    def on_terminal(self, argv: list[str]) -> tuple[str, int]:
        """Run the tool with a terminal for all it reads and writes; what that showed, and the exit status."""
        outer, inner = pty.openpty()
        tool = subprocess.Popen(argv, cwd=self.folder, env=self.environment, stdin=inner, stdout=inner, stderr=inner)
        os.close(inner)
        shown = b""
        with open(outer, "rb", buffering=0) as terminal, contextlib.suppress(OSError):  # it has ended
            while data := terminal.read(4096):
                shown += data
        return shown.decode(errors="replace"), tool.wait(PATIENCE)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The stage, with a small system that is built."""
    site = new_site(tmp_path_factory.mktemp("stage"))
    live = Live(site, Daemon(site, *PROVING))
    site.configure({"small": small_bootstrap(site.folder)}, {}, SMALL_PACKAGER)
    live.daemon.start()
    live.add_stream("over", {"manifest": SMALL})
    live.add_stream("web/front", {"manifest": SMALL})
    live.add_stream("failing", {"manifest": SMALL, "scripts/1": "#!/bin/sh\nexit 3\n"})
    stage = Stage(live, tmp_path_factory.mktemp("desk"))
    live.build("small")
    live.build("web/front")
    with pytest.raises(RpcError):
        live.build("failing", KeepFailed=3600)
    stage.failed = live.call("Imaginator.ListBuilds", StreamName="failing")["Builds"][0]["BuildId"]
    furnish(stage)
    yield stage
    live.call("Imaginator.CancelBuild", BuildId=stage.failed)
    live.close()


def furnish(stage: Stage) -> None:
    """Manifests, a configuration, a root directory, and a local store that is not the host's own."""
    flags = stage.folder / ".config/builder-tool/flags.default"
    flags.parent.mkdir(parents=True)
    flags.write_text(f"state-dir={stage.folder}/own-store\n")
    (stage.folder / "conf.json").write_bytes(stage.live.site.configuration.read_bytes())
    for name, manifest in (("good", SMALL), ("bad", '{"SourceImage": 3}'), ("manifests/front", SMALL)):
        (stage.folder / name).mkdir(parents=True)
        (stage.folder / name / "manifest").write_text(manifest)
    root = stage.folder / "root"
    root.mkdir()
    subprocess.run([*small_bootstrap(stage.folder)[:2], root], check=True)
    (root / "bin/generic-packager").write_text(PACKAGER)
    (root / "bin/generic-packager").chmod(0o755)


def test_every_command_has_a_row() -> None:
    """A new one needs it."""
    assert list(COMMANDS) == list(ROWS)


@pytest.mark.parametrize("command", ROWS)
def test_piped(stage: Stage, command: str) -> None:
    """The result alone is on standard output, and nothing that moves a cursor is on standard error."""
    row = ROWS[command]
    said = stage.piped(stage.argv(command, row.works))

    assert (0, row.result) == (said.status, bool(said.out)), said.err
    assert "\x1b" not in said.out + said.err
    assert "Error: " not in said.err


@pytest.mark.parametrize("command", [command for command, row in ROWS.items() if row.json])
def test_json(stage: Stage, command: str) -> None:
    """Programs get one JSON value, and nothing else on standard output."""
    said = stage.piped(stage.argv(command, ROWS[command].works, "--json"))

    assert 0 == said.status, said.err
    assert isinstance(json.loads(said.out), dict | list)


@pytest.mark.parametrize("command", ROWS)
def test_on_a_terminal(stage: Stage, command: str) -> None:
    """The same result, and the exit status of success."""
    row = ROWS[command]
    shown, status = stage.on_terminal(stage.argv(command, row.works))

    assert 0 == status, shown
    assert not row.result or shown.strip()
    assert "Error: " not in shown


@pytest.mark.parametrize("command", [command for command in ROWS if command != "completion"])
def test_failure(stage: Stage, command: str) -> None:
    """Exit status 1, and an error on standard error; a check's findings are its result."""
    row = ROWS[command]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    said = stage.piped(stage.argv(command, row.fails or row.works, port=port))

    assert 1 == said.status
    assert ("error: " in said.out, "Error: " in said.err) == ((True, False) if "check" in command else (False, True))
    assert "check" in command or "" == said.out


@pytest.mark.parametrize(
    "example",
    [line for row in COMMANDS.values() for line in row.examples if not any(part in line for part in LEFT_OUT)],
)
def test_example(stage: Stage, example: str) -> None:
    """What help gives for an example works, where there are the streams and files that it names."""
    program, *words = shlex.split(example)
    said = stage.piped([*stage.live.tool_command(), *words])

    assert ("builder-tool", 0) == (program, said.status), said.err


@pytest.mark.parametrize("command", ROWS)
def test_wrong_usage(stage: Stage, command: str) -> None:
    """Exit status 2, with how it is used on standard error."""
    # A shell's command may have any option.
    wrong = () if command == "shell" else ("--no-such-option",)
    said = stage.piped(stage.argv(command, "", *wrong))

    assert (2, "") == (said.status, said.out)
    assert f"Usage: builder-tool {command} " in said.err
