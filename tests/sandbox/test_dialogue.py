"""Commands that somebody talks to, by a terminal or by a pipe."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from imaginator.model.errors import Refused
from imaginator.sandbox.dialogue import Dialogue, Size
from imaginator.sandbox.process import Exit
from imaginator.sandbox.sandbox import Sandbox, Workspace
from tests.support.real_reactor import reactor
from tests.support.sandboxes import ENVIRONMENT, opened, small_tree

SIZE = Size(25, 81)
PROMPT = b"/ # \x1b[6n"
"""Busybox' shell asks the terminal where its cursor is, and takes what comes before the answer for one."""


@pytest_twisted.async_yield_fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[Sandbox]:
    """An open sandbox over a small system."""
    async with opened(Workspace(tmp_path / "build", (small_tree(tmp_path / "source"),))) as sandbox:
        yield sandbox


class Talk:
    """A command, what it has said, and what it is to be told."""

    def __init__(self, sandbox: Sandbox, script: str, size: Size | None = SIZE) -> None:
        self.said = b""
        self.dialogue: Dialogue = sandbox.talk(
            ["sh", "-c", script], ENVIRONMENT, network=False, output=self._hear, size=size
        )

    def _hear(self, data: bytes) -> None:
        self.said += data

    async def until(self, condition: Callable[[], Any]) -> None:
        """Return when something has become true."""
        while not condition():
            await deferLater(reactor, 0.01)

    async def hear(self, words: bytes) -> None:
        """Return when the command has said something."""
        await self.until(lambda: words in self.said)

    def end(self) -> Deferred[Exit]:
        """How it ends."""
        return self.dialogue.wait()


@pytest_twisted.ensureDeferred
async def test_a_terminal_of_its_own(sandbox: Sandbox) -> None:
    """A command has a terminal of the wanted size by its path in its own /dev/pts, which is the one of its session."""
    talk = Talk(sandbox, "test -t 0 && busybox tty && busybox stty size && echo through it > /dev/tty; exit 3")

    assert "exit status 3" == (await talk.end()).describe()
    assert b"/dev/pts/0\r\n25 81\r\nthrough it\r\n" == talk.said


@pytest_twisted.ensureDeferred
async def test_what_ends_at_once_was_heard(sandbox: Sandbox) -> None:
    """However short a command's life is, the daemon has its terminal before it starts."""
    talks = [Talk(sandbox, "echo hello") for _ in range(10)]

    assert [(0, b"hello\r\n")] * 10 == [((await talk.end()).code, talk.said) for talk in talks]


@pytest_twisted.ensureDeferred
async def test_typing_and_interrupting(sandbox: Sandbox) -> None:
    """What is typed is read and echoed; Ctrl-C is a signal for the program in front, and not for its shell."""
    talk = Talk(sandbox, "exec sh")
    await talk.hear(PROMPT)
    await talk.dialogue.write(b"sh -c 'echo $((6*7)); exec sleep 1000'\n")
    await talk.hear(b"\r\n42\r\n")
    await talk.dialogue.write(b"\x03")
    await talk.until(lambda: talk.said.count(PROMPT) == 2)
    await talk.dialogue.write(b"exit 5\n")

    assert "exit status 5" == (await talk.end()).describe()


@pytest_twisted.ensureDeferred
async def test_windows_change_their_size(sandbox: Sandbox) -> None:
    """A program is told by a signal."""
    talk = Talk(sandbox, "trap 'busybox stty size; exit' WINCH; echo ready; while :; do sleep 0.02; done")
    await talk.hear(b"ready")
    talk.dialogue.resize(Size(40, 132))

    assert (await talk.end()).ok
    assert b"ready\r\n40 132\r\n" == talk.said


@pytest_twisted.ensureDeferred
async def test_input_by_a_pipe(sandbox: Sandbox) -> None:
    """Without a terminal every byte arrives as it is, either way, and the end of input too."""
    data = bytes(range(256)) * 1000
    talk = Talk(sandbox, "cat; test -t 0 || echo no terminal >&2", None)
    for start in range(0, len(data), 50_000):
        await talk.dialogue.write(data[start : start + 50_000])
    talk.dialogue.end_input()

    assert (await talk.end()).ok
    assert data + b"no terminal\n" == talk.said


@pytest_twisted.ensureDeferred
async def test_a_command_that_reads_nothing(sandbox: Sandbox) -> None:
    """What it does not read waits with whoever wrote it, who cannot write more, and is done with when it ends."""
    talk = Talk(sandbox, "exec sleep 1000", None)
    waiting = Deferred.fromCoroutine(talk.dialogue.write(bytes(1 << 20)))
    with pytest.raises(Refused):
        await talk.dialogue.write(b"more")
    await talk.dialogue.stop("enough")
    await waiting
    await talk.dialogue.write(b"nobody hears this")


@pytest.mark.parametrize("size", [SIZE, None])
@pytest_twisted.ensureDeferred
async def test_output_waits_in_the_sandbox(sandbox: Sandbox, size: Size | None) -> None:
    """A command that says more than anybody takes is made to wait; nothing is lost when it is taken in the end."""
    talk = Talk(sandbox, "busybox seq 100000; echo end >> /written", size)
    talk.dialogue.pauseProducing()
    await deferLater(reactor, 0.3)
    heard, written = talk.said, await sandbox.tree.stat(b"/written")
    talk.dialogue.resumeProducing()
    await talk.end()

    assert (b"", None) == (heard, written)
    assert b"".join(b"%d\n" % number for number in range(1, 100_001)) == talk.said.replace(b"\r", b"")


@pytest_twisted.ensureDeferred
async def test_slow_ears_hear_the_end(sandbox: Sandbox) -> None:
    """What was said last is heard however late it is taken: nothing of a sandbox keeps its pipe open."""
    talk = Talk(sandbox, "echo last words", None)
    talk.dialogue.pauseProducing()
    await talk.until(lambda: talk.dialogue.pid and not Path(f"/proc/{talk.dialogue.pid}/root").exists())
    talk.dialogue.resumeProducing()

    assert (await talk.end()).ok
    assert b"last words\n" == talk.said


@pytest_twisted.ensureDeferred
async def test_nothing_to_talk_to(sandbox: Sandbox) -> None:
    """What cannot be started says why, with a terminal too; there are no open files left."""
    before = os.listdir("/proc/self/fd")
    said: list[bytes] = []
    dialogue = sandbox.talk(["no-such-program"], ENVIRONMENT, network=False, output=said.append, size=SIZE)
    ended = await dialogue.wait()

    assert (127, b"no-such-program: not found\r\n") == (ended.code, b"".join(said))
    assert before == os.listdir("/proc/self/fd")


@pytest_twisted.ensureDeferred
async def test_images_without_terminals(tmp_path: Path) -> None:
    """A tree without /dev has none, whatever else lies where its terminals would."""
    tree = small_tree(tmp_path / "source")
    (tree / "dev").rmdir()
    (tree / "dev").symlink_to("etc")
    (tree / "etc" / "pts").mkdir()
    os.mkfifo(tree / "etc" / "pts" / "ptmx")
    async with opened(Workspace(tmp_path / "build", (tree,))) as sandbox:
        talk = Talk(sandbox, "echo never")
        ended = await talk.end()

    assert (125, b"sandbox: Inappropriate ioctl for device\r\n") == (ended.code, talk.said)
