"""Commands of the host: drained, waited for, stopped, and never left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet.defer import CancelledError, ensureDeferred
from twisted.internet.task import deferLater

from imaginator.model.errors import BuildFailed, TimedOut
from imaginator.sandbox.process import Child, Exit, Tail, capture, finish, spawn
from tests.support.real_reactor import reactor

ENVIRONMENT = {"PATH": os.environ["PATH"]}


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def wait_until_gone(pid: int) -> None:
    """Wait for a process' end; only a leak exceeds the limit."""
    deadline = time.monotonic() + 30
    while alive(pid):
        assert time.monotonic() < deadline, f"process {pid} lives on"
        time.sleep(0.01)


def shell(script: str, output: Tail) -> Child:
    """Start a shell script."""
    return spawn(reactor, ["sh", "-c", script], ENVIRONMENT, output=output)


@pytest_twisted.ensureDeferred
async def test_both_outputs_are_one_ordered_stream() -> None:
    """What is written to standard output and error arrives in the order in which it was written."""
    script = "for i in 1 2 3; do echo out $i; echo err $i >&2; done"
    output = await capture(reactor, ["sh", "-c", script], ENVIRONMENT, timeout=30)

    assert b"out 1\nerr 1\nout 2\nerr 2\nout 3\nerr 3\n" == output


@pytest_twisted.ensureDeferred
async def test_large_output_arrives_whole() -> None:
    """Output that is still in the pipe when its writer ends is not lost."""
    output = await capture(reactor, ["head", "-c", "3000000", "/dev/zero"], ENVIRONMENT, timeout=30)

    assert 3_000_000 == len(output)


@pytest_twisted.ensureDeferred
async def test_standard_input_is_at_its_end() -> None:
    """A command that reads gets nothing and goes on."""
    assert b"" == await capture(reactor, ["cat"], ENVIRONMENT, timeout=30)


@pytest_twisted.ensureDeferred
async def test_failure_shows_status_and_last_words() -> None:
    """A command that fails is told with its exit status and last lines."""
    with pytest.raises(BuildFailed, match=r"sh: exit status 3: oh no"):
        await capture(reactor, ["sh", "-c", "echo oh no; exit 3"], ENVIRONMENT, timeout=30)


@pytest_twisted.ensureDeferred
async def test_signal_is_told_by_name() -> None:
    """A command that a signal killed is told with the signal's name."""
    ended = await finish(shell("kill -SEGV $$", Tail()))

    assert "killed by SIGSEGV" == ended.describe()


def test_missing_program_is_named() -> None:
    """A program that is not on the path is told by its name."""
    with pytest.raises(BuildFailed, match="program not found: no-such-program"):
        spawn(reactor, ["no-such-program"], ENVIRONMENT, output=Tail())


@pytest_twisted.ensureDeferred
async def test_what_a_command_leaves_running_ends_with_it() -> None:
    """A child in the background that holds the output open neither delays the end nor outlives it."""
    tail = Tail()
    ended = await finish(shell("sleep 1000 & echo $!", tail))

    assert ended.ok
    wait_until_gone(int(tail.text()))


@pytest_twisted.ensureDeferred
async def test_stop_ends_a_command_that_ignores_the_first_signal() -> None:
    """SIGTERM that is ignored is followed by SIGKILL, and the reason is told."""
    tail = Tail()
    child = spawn(reactor, ["sh", "-c", "trap '' TERM; echo ready; sleep 1000"], ENVIRONMENT, output=tail)
    while not tail.text():
        await _tick()

    ended = await child.stop("enough")

    assert Exit(None, signal.SIGKILL, "enough") == ended
    assert "stopped: enough" == ended.describe()


@pytest_twisted.ensureDeferred
async def test_time_out_ends_the_command_first() -> None:
    """When `finish` raises, the command is gone."""
    child = spawn(reactor, ["sleep", "1000"], ENVIRONMENT, output=Tail())
    with pytest.raises(TimedOut, match=r"not finished after 0\.1 s"):
        await finish(child, timeout=0.1)

    assert not alive(child.pid)


@pytest_twisted.ensureDeferred
async def test_cancelling_ends_the_command_first() -> None:
    """A cancelled wait ends when the command has ended, not before."""
    child = spawn(reactor, ["sleep", "1000"], ENVIRONMENT, output=Tail())
    waiting = ensureDeferred(finish(child))
    waiting.cancel()
    with pytest.raises(CancelledError):
        await waiting

    assert not alive(child.pid)


PARENT = """
import sys
from twisted.internet import reactor
from imaginator.sandbox.process import spawn
argv = ["sh", "-c", "echo $$; exec sleep 1000"]
spawn(reactor, argv, {"PATH": sys.argv[1]}, output=lambda data: print(data.decode(), flush=True))
reactor.run()
"""


def test_commands_die_with_the_daemon() -> None:
    """After kill -9 of the process that started it, a command is gone."""
    argv = [sys.executable, "-c", PARENT, os.environ["PATH"]]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()

    wait_until_gone(pid)


async def _tick() -> None:
    await deferLater(reactor, 0.01)


@pytest_twisted.ensureDeferred
async def test_pipes_are_closed_at_the_end() -> None:
    """A command that has ended leaves no open file; neither does one that was stopped."""
    before = os.listdir("/proc/self/fd")
    await capture(reactor, ["true"], ENVIRONMENT, timeout=30)
    await shell("sleep 1000", Tail()).stop("enough")

    assert before == os.listdir("/proc/self/fd")
