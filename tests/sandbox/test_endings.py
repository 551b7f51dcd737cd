"""Commands and holders that end, or are ended, at moments at which nobody expects it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet.process import reapAllProcesses
from twisted.internet.task import Clock, deferLater

from imaginator.sandbox import enter
from imaginator.sandbox.attending import Line
from imaginator.sandbox.channel import Channel
from imaginator.sandbox.denials import Denials
from imaginator.sandbox.kernel.namespaces import CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUTS, unshare
from imaginator.sandbox.process import GRACE, Child, Exit, Tail, spawn
from imaginator.sandbox.sandbox import Profile, Sandbox, Workspace
from tests.sandbox.test_process import wait_until_gone
from tests.support.real_reactor import reactor
from tests.support.sandboxes import ENVIRONMENT, NO_LIMITS, opened, run, small_tree


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A build over a small system."""
    return Workspace(tmp_path / "build", (small_tree(tmp_path / "source"),))


def children() -> set[int]:
    """The processes that this one has started."""
    return {int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}


@pytest_twisted.ensureDeferred
async def test_a_command_that_would_lie_about_its_end(workspace: Workspace) -> None:
    """The pipes of its init are out of a command's reach, root in its namespaces as it is."""
    async with opened(workspace) as sandbox:
        ended, _ = await run(sandbox, "for pipe in /proc/1/fd/*; do echo 12nonsense > $pipe; done; exit 7")

    assert "exit status 7" == ended.describe()


@pytest_twisted.ensureDeferred
async def test_signals_without_a_name(workspace: Workspace) -> None:
    """A real-time signal is told by its number."""
    async with opened(workspace) as sandbox:
        ended, _ = await run(sandbox, "kill -40 $$")

    assert "killed by signal 40" == ended.describe()


@pytest_twisted.ensureDeferred
async def test_no_holder_is_left_where_a_workspace_cannot_be_made(tmp_path: Path) -> None:
    """A full disk, or a file in the way."""
    (tmp_path / "file").touch()
    before = children()
    with pytest.raises(OSError, match="Not a directory"):
        await Sandbox.open(reactor, Workspace(tmp_path / "file" / "build"), Profile.MANIFEST, NO_LIMITS)

    assert before == children()


@pytest_twisted.ensureDeferred
async def test_stopping_what_has_just_ended() -> None:
    """A command whose process is gone, but whose end has not been read yet, can be stopped all the same."""
    gone = os.fork()
    if gone == 0:
        os._exit(0)
    os.waitpid(gone, 0)
    source, sink = os.pipe()
    os.set_blocking(source, False)
    child = Child(reactor, Tail())
    child.read_status(source)
    child.started(gone)
    os.write(sink, b"0")
    os.close(sink)

    assert Exit(0, None, "enough") == await child.stop("enough")


@pytest_twisted.ensureDeferred
async def test_a_command_that_is_stopped_long_before_it_starts() -> None:
    """It is killed also where the grace period has passed when its process becomes known."""
    tail = Tail()
    script = ["sh", "-c", "trap '' TERM; echo ready; sleep 1000"]
    sleeper = spawn(reactor, script, {"PATH": os.environ["PATH"]}, output=tail)
    while not tail.text():
        await deferLater(reactor, 0.01)
    clock = Clock()
    child = Child(clock, Tail())  # type: ignore[arg-type]
    child.stop("enough")
    clock.advance(GRACE)
    child.started(sleeper.pid)
    killing = bool(clock.getDelayedCalls())
    clock.advance(GRACE)
    ended = await (sleeper.wait() if killing else sleeper.stop("left alone"))

    assert Exit(None, signal.SIGKILL) == ended


@pytest_twisted.ensureDeferred
async def test_closing_a_holder_that_has_just_been_killed() -> None:
    """Its death is known before the ends of its pipes are."""
    channel = Channel(reactor)
    holder = channel.pid
    os.kill(holder, signal.SIGKILL)
    wait_until_gone(holder)
    reapAllProcesses()
    await channel.close()

    assert holder not in children()


def test_an_init_whose_launcher_is_gone_starts_nothing(tmp_path: Path) -> None:
    """It may have ended before the kernel was told to end its init with it."""
    options = dict.fromkeys(("network", "mounts"), True) | {"discard": False, "terminal": False}
    command = {"command": [b"touch", b"ran"], "environment": {b"PATH": os.environb[b"PATH"]}}
    launcher = os.fork()
    if launcher == 0:
        os.chdir(tmp_path)
        unshare(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS)
        alive, mark = os.pipe()
        os.close(alive)
        init = os.fork()
        if init == 0:
            entry = enter.Entry(os.fsencode(tmp_path), options | command, [], None, Denials([], None), None)
            enter._guarded(lambda: enter._init(entry, Line(), mark), lambda: None)
        os.waitpid(init, 0)
        os._exit(0)
    os.waitpid(launcher, 0)

    assert [] == list(tmp_path.iterdir())


@pytest_twisted.ensureDeferred
async def test_pipes_of_commands_are_closed(workspace: Workspace) -> None:
    """Commands of a build leave no open file, whether they end by themselves or not."""
    async with opened(workspace) as sandbox:
        before = os.listdir("/proc/self/fd")
        await run(sandbox, "true")
        await sandbox.run(["sleep", "1000"], ENVIRONMENT, network=False, output=Tail()).stop("enough")

        assert before == os.listdir("/proc/self/fd")
