"""What systemd hands over and waits for: a socket by its name, and a word now and then."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from imaginator.service.watchdog import Watchdog

HANDS_OVER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.executable, [sys.executable, "-c", sys.argv[2]])
"""
TAKES = """
import json, os
import imaginator.service.listener
from imaginator.model.errors import ConfigurationError
from imaginator.service.inherited import inherited_socket
try:
    found = inherited_socket()
    print(json.dumps(found and [found.getsockname()[1], os.get_inheritable(3), found.getblocking()]))
except ConfigurationError as error:
    print(json.dumps(str(error)))
"""


def taken(handed: socket.socket, name: str, count: int = 1) -> object:
    """What a process makes of a socket that it inherits under this name."""
    environment = {**os.environ, "LISTEN_FDS": str(count), "LISTEN_FDNAMES": ":".join([name] * count)}
    argv = [sys.executable, "-c", HANDS_OVER, str(handed.fileno()), TAKES]
    run = subprocess.run(
        argv, env=environment, pass_fds=[handed.fileno()], capture_output=True, text=True, check=True, timeout=60
    )
    return json.loads(run.stdout)


@pytest.mark.parametrize("name", ["imaginator", "imaginator.socket"])
def test_the_socket_of_our_name(name: str) -> None:
    """It is taken by the name that the unit gives it, or of the unit itself; no program that is started has it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        assert [listening.getsockname()[1], False, False] == taken(listening, name)


def test_no_socket() -> None:
    """Without one the daemon opens its own."""
    with socket.socket() as other:
        assert taken(other, "", 0) is None


def test_another_name() -> None:
    """The sentence has the names that there are."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        assert "sockets of systemd: none is called imaginator, only: http" == taken(listening, "http")


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_no_connection_comes_by_it(kind: socket.SocketKind) -> None:
    """A socket that does not listen is refused."""
    with socket.socket(socket.AF_INET, kind) as idle:
        said = str(taken(idle, "imaginator"))

    assert "expected a listening TCP socket" in said


def told(receiver: socket.socket) -> list[bytes]:
    """The words that have come."""
    words = []
    while True:
        try:
            words.append(receiver.recv(100, socket.MSG_DONTWAIT))
        except BlockingIOError:
            return words


@pytest.mark.parametrize(("environment", "expected"), [({"WATCHDOG_USEC": "20000000"}, 3), ({}, 0)])
def test_the_watchdog(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: int
) -> None:
    """It is told twice in its time while the service runs, and nothing where systemd did not ask for it."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    clock = Clock()
    watchdog = Watchdog(clock)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        watchdog.startService()
        clock.pump([10.0, 10.0])
        watchdog.stopService()
        clock.advance(60)

        assert [b"WATCHDOG=1"] * expected == told(receiver)


def test_the_watchdog_of_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever inherits the environment is not who is waited for."""
    monkeypatch.setenv("WATCHDOG_USEC", "20000000")
    monkeypatch.setenv("WATCHDOG_PID", "1")
    clock = Clock()
    Watchdog(clock).startService()

    assert [] == clock.getDelayedCalls()
