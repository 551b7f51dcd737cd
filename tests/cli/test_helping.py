"""What helps: completion in a real shell, words for commands that are gone, and whom to ask for a permission."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import pytest_twisted
from twisted.internet.utils import getProcessOutputAndValue

from imaginator.cli.commands import COMMANDS, GONE, every_command
from imaginator.cli.flags import Spelling, modernise
from imaginator.cli.main import builder_tool
from imaginator.cli.names import PATIENCE
from imaginator.model.build import BuildFailure, BuildRequest
from imaginator.model.graph import Graph
from imaginator.model.image import Image
from imaginator.schedule.dependencies import Snapshot
from imaginator.service.options import FLAGS
from tests.cli.conftest import Tool
from tests.support.fake_builder import EMPTY_ROOT, START, FakeStore

BIN = Path(sys.executable).parent
COMPLETES = """
eval "$(HOME=/nowhere builder-tool completion bash)"
COMP_LINE={line} COMP_POINT=${{#COMP_LINE}}
_builder_tool_completion builder-tool
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
IMAGE = "base/web/2026-11-22:23:38:05"


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("builder-tool list-", {"list-builds", "list-images"}),
        ("LANG=C builder-tool check-", {"check-config", "check-manifest"}),
        ("builder-tool list-builds --st", {"--stream", "--state"}),
        ("builder-tool list-builds --state fa", {"failed"}),
        ("builder-tool list-builds --state=fa", {"failed"}),
        ("builder-tool 'cancel-", {"cancel-build"}),
    ],
)
def test_bash_completes(line: str, found: set[str]) -> None:
    """Commands, options and their values."""
    script = COMPLETES.format(line=shlex.quote(line))
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    said = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=True).stdout

    assert found == set(said.split())


class Shell:
    """A shell in which somebody types a line and asks what could come next."""

    def __init__(self, tool: Tool) -> None:
        self.tool = tool
        self.environment = {**tool.environment, "PATH": f"{BIN}:{os.environ['PATH']}"}

    async def completes(self, words: str) -> tuple[str, str, float]:
        """What bash puts in the place of the last word, what was complained of, and the seconds it took."""
        line = shlex.join(["builder-tool", *self.tool.where]) + f" {words}"
        script = COMPLETES.format(line=shlex.quote(line))
        begun = time.monotonic()
        out, err, _ = await getProcessOutputAndValue("bash", ["-c", script], self.environment)
        return " ".join(out.decode().split()), err.decode(), time.monotonic() - begun


@pytest.fixture
def shell(tool: Tool) -> Shell:
    """A shell of alice's, whose daemon knows an image, and builds that are under way or have failed."""
    builder = tool.site.builder
    assert isinstance(builder.store, FakeStore)
    builder.store.images[IMAGE] = Image(name=IMAGE, root=EMPTY_ROOT, created_at=START)
    builder.dependencies.latest = Snapshot(
        Graph(sources={"base/web": "base"}, roots=frozenset({"base"})), generated_at=START
    )
    return Shell(tool)


@pytest_twisted.ensureDeferred
async def test_bash_completes_names(shell: Shell) -> None:
    """Of streams, images and builds, each where it belongs; of an image what bash takes for the last word."""
    builder = shell.tool.site.builder
    running, failed = (builder.add(BuildRequest(stream_name="other")).build_id for _ in range(2))
    builder.fail(failed, BuildFailure(-32005, "build-failed", "no"))
    found = {
        words: (await shell.completes(words))[:2]
        for words in (
            "build-image o",
            "list-images base",
            "list-builds --stream=b",
            "get-digraph --excludes x,b",
            "delete-image b",
            "show-image base/web/2026-11-22:23",
            "cancel-build ''",
            "shell ",
        )
    }

    assert {
        "build-image o": ("other", ""),
        "list-images base": ("base base/web", ""),
        "list-builds --stream=b": ("base base/web", ""),
        "get-digraph --excludes x,b": ("x,base x,base/web", ""),
        "delete-image b": (IMAGE, ""),
        "show-image base/web/2026-11-22:23": ("23:38:05", ""),
        "cancel-build ''": (running, ""),
        "shell ": (failed, ""),
    } == found


@pytest_twisted.ensureDeferred
async def test_names_are_kept(shell: Shell) -> None:
    """For a while nobody is asked again; where the daemon cannot be asked then, its names are those of before."""
    await shell.completes("build-image b")
    asked = len(shell.tool.site.builder.dependencies.asked)
    await shell.completes("build-image b")
    (kept,) = (shell.tool.home / ".cache/builder-tool").iterdir()
    os.utime(kept, (0, 0))
    (shell.tool.home / ".ssl/CA.pem").write_text("none")
    left = await shell.completes("build-image b")

    assert 1 == asked == len(shell.tool.site.builder.dependencies.asked)
    assert ("base base/web", "") == left[:2]


@pytest.mark.parametrize("answer", [None, b"", b"SSH-2.0-x\r\n"], ids=["silent", "closing", "another program"])
@pytest_twisted.ensureDeferred
async def test_nothing_to_complete(shell: Shell, answer: bytes | None) -> None:
    """Where no daemon answers, nothing is found, quietly and at once, be the rest of the line right or wrong."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        if answer is not None:
            threading.Thread(target=lambda: send_away(deaf, answer), daemon=True).start()
        shell.tool.where = [f"--imaginator-port={deaf.getsockname()[1]}", "--imaginator-hostname=127.0.0.1"]
        first = await shell.completes("show-image b")
        again = await shell.completes("show-image b")
        shell.tool.where = ["--imaginator-port=none"]
        wrong = await shell.completes("show-image b")

    assert [("", "")] * 3 == [first[:2], again[:2], wrong[:2]]
    # The first waits as long as it may; the tool's own start comes to it, on whatever machine this is.
    assert first[2] - again[2] < PATIENCE + 1


def send_away(listening: socket.socket, answer: bytes) -> None:
    """Whoever comes gets an answer, and no more."""
    one, _ = listening.accept()
    with one:
        one.sendall(answer)


@pytest_twisted.ensureDeferred
async def test_nothing_to_complete_without_files(shell: Shell) -> None:
    """Flags files that cannot be read, a certificate that is none and a cache that is no directory: not a word."""
    (shell.tool.home / ".ssl/cert.pem").write_text("none")
    (shell.tool.home / ".cache").write_text("")
    (shell.tool.home / ".config/builder-tool").mkdir(parents=True)
    (shell.tool.home / ".config/builder-tool/flags.default").mkdir()
    names, complaint, _ = await shell.completes("show-image b")

    assert ("", "") == (names, complaint)


def examples() -> Iterator[str]:
    """Every example that a command's help has."""
    for row in COMMANDS.values():
        yield from row.examples


@pytest.mark.parametrize("example", [*examples()])
def test_examples(example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is one of its command's, and right as it is spelled."""
    monkeypatch.chdir(tmp_path)
    for directory in ("manifests/front", "root"):
        Path(directory).mkdir(parents=True)
    program, *words = shlex.split(example)
    group = builder_tool.make_context(program, list(words))
    name, found, arguments = builder_tool.resolve_command(group, [*group._protected_args, *group.args])
    assert found is not None
    assert name is not None
    found.make_context(name, arguments, parent=group)

    assert "builder-tool" == program
    assert example in COMMANDS[name].examples
    assert words == modernise(words, Spelling(builder_tool), pytest.fail)


@pytest.mark.parametrize("command", GONE)
@pytest_twisted.ensureDeferred
async def test_gone(tool: Tool, command: str) -> None:
    """A command of the original that is gone is a wrong usage, and what to do instead is told."""
    said = await tool.run(command, "x")

    assert (2, "") == (said.status, said.out)
    assert GONE[command] in said.err


@pytest.mark.parametrize("command", sorted(COMMANDS))
@pytest_twisted.ensureDeferred
async def test_every_command_has_help(tool: Tool, command: str) -> None:
    """It says what it does in a sentence, on standard output, without a daemon."""
    said = await tool.run_plainly(command, "--help")

    assert (0, "") == (said.status, said.err)
    assert said.out.startswith(f"Usage: builder-tool {command} ")
    assert 1 <= len(COMMANDS[command].examples) <= 2
    assert said.out.endswith("".join(f"    {example}\n" for example in COMMANDS[command].examples))
    assert ".\n" in said.out


def test_the_man_pages(tmp_path: Path) -> None:
    """The tool's has every command with all its options, and the files; the daemon's has all flags."""
    make = ["sphinx-build", "-W", "-q", "-E", "-b", "man", "-d", str(tmp_path / "doctrees"), "docs", str(tmp_path)]
    subprocess.run([BIN / make[0], *make[1:]], cwd=Path(__file__).parents[2], check=True)
    page = re.sub(r"\\f.", "", (tmp_path / "builder-tool.1").read_text().replace("\\-", "-"))
    words = set(re.findall(r"[\w-]+", page))

    for command in every_command():
        options = [option for option in command.params if isinstance(option, click.Option)]
        assert {command.name, *(name for option in options for name in option.opts)} <= words
    assert "/etc/config/builder-tool/flags.default" in page
    assert [] == [example for example in examples() if example not in page]
    daemon = re.sub(r"\\f.", "", (tmp_path / "imaginator.8").read_text().replace("\\-", "-"))
    assert {f"--{flag.name}" for flag in FLAGS} <= set(re.findall(r"[\w-]+", daemon))


@pytest_twisted.ensureDeferred
async def test_who_may(tool: Tool) -> None:
    """Of what is not permitted the tool says whom it is for, and who can change that."""
    said = await tool.run("disable-auto-builds")

    assert 1 == said.status
    assert said.err.startswith("Error: no permission to call: Imaginator.DisableAutoBuilds\n")
    for words in ("callers with full access", "permits Imaginator.DisableAutoBuilds", "--trusted-users"):
        assert words in said.err
