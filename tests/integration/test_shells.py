"""The trees of builds that failed, and shells in them: over TLS, through a terminal, by people and not by strangers."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import termios
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Self

import pytest

from demo.daemon import Daemon
from demo.site import Site
from imaginator.rpc.certificates import make_authority, make_certificate
from imaginator.rpc.client import Client, Credentials, RpcError
from tests.integration.test_bad_input import OVER_SMALL, poll
from tests.support.live import PROVING, Live, leftovers, processes, uses
from tests.support.small_system import SMALL_PACKAGER, small_bootstrap

pytestmark = pytest.mark.integration

FAILING = """#!/bin/sh
echo half done > /etc/half
export LOST=lost
exit 4
"""
LONG = 7654321
"""Seconds by which a command of this test's is known among all processes."""
PROMPT = b"/ # \x1b[6n"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A daemon whose streams alice may build, and mallory may not."""
    site = Site(tmp_path_factory.mktemp("shells"))
    site.certificates.mkdir()
    authority = make_authority("shells")
    authority.write(site.authority, None)
    make_certificate(authority, "imaginator", server=True).write(*site.certificate("imaginator"))
    make_certificate(authority, "user", methods=["Imaginator.*", "ImageServer.*"]).write(*site.certificate("user"))
    for name in ("alice", "mallory"):
        make_certificate(authority, name).write(*site.certificate(name))
    (site.folder / "manifests").mkdir()
    site.make_repository(site.folder / "manifests")
    site.configure({"small": small_bootstrap(site.folder)}, {}, SMALL_PACKAGER)
    live = Live(site, Daemon(site, *PROVING, "--maximum-concurrent-builds-per-user", "9"))
    live.daemon.start()
    live.add_stream("failing", {"manifest": OVER_SMALL, "scripts/fail": FAILING}, BuilderUsers=["alice"])
    yield live
    live.close()


def fail(live: Live, who: str = "alice", stream: str = "failing", **wanted: object) -> str:
    """Build a stream that fails, and have its tree kept; the build's id."""
    with live.client(who) as client:
        wanted = {"KeepFailed": 3600, "ExpiresIn": 3600, "MaxSourceAge": 86400, **wanted}
        build: str = client.call("Imaginator.SubmitBuild", StreamName=stream, **wanted)["BuildId"]
        poll(lambda: client.call("Imaginator.GetBuild", BuildId=build)["State"] == "failed", "the build to fail")
    return build


@pytest.fixture(scope="module")
def build(live: Live) -> str:
    """A build that has failed, whose tree is kept."""
    return fail(live)


def argv(live: Live, *arguments: str, who: str = "alice") -> list[str]:
    """The command line of the tool."""
    return live.tool_command(*arguments, who=who)


def run(live: Live, *arguments: str, who: str = "alice", given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run the tool without a terminal."""
    return subprocess.run(argv(live, *arguments, who=who), input=given, capture_output=True, timeout=60, check=False)


def test_the_way_to_a_kept_tree_is_told(live: Live, build: str) -> None:
    """The log and the page of a failed build say that its tree is kept, until when, and how to get there."""
    with urllib.request.urlopen(f"{live.daemon.url}showBuild?{build}") as page:
        shown = page.read().decode()

    assert f"the tree is kept until {time.strftime('%Y')}" in live.log(build)
    assert f" UTC: builder-tool shell {build}\n" in live.log(build)
    assert f"<code>builder-tool shell {build}</code>" in shown


def test_what_the_build_left(live: Live, build: str) -> None:
    """A command sees the tree as the failed script left it, with the environment of the build and its own input."""
    script = 'cat; cat /etc/half; echo "$IMAGE_STREAM $LOST"; id -u; echo oops >&2; exit 3'
    ended = run(live, "shell", build, "sh", "-c", script, given=b"given\n")

    assert (3, b"given\nhalf done\nfailing \n0\noops\n", b"") == (ended.returncode, ended.stdout, ended.stderr)


def test_much_data_either_way(live: Live, build: str) -> None:
    """Without a terminal every byte arrives."""
    data = os.urandom(1 << 20)

    assert data == run(live, "shell", build, "cat", given=data).stdout


def test_changes_stay(live: Live, build: str) -> None:
    """What is changed in a kept tree is there for the next shell."""
    run(live, "shell", build, given=b"echo tried > /tried\n")

    assert b"tried\n" == run(live, "shell", build, "cat", "/tried").stdout


def test_the_sandbox_is_the_same(live: Live, build: str) -> None:
    """A shell is no way out: no host disk, no mounts, no host processes, no devices, no way to the daemon."""
    probes = f"""
        mkdir /m; busybox mount -t tmpfs none /m 2>&1; busybox mknod /disk b 7 0; cat /disk 2>&1
        busybox unshare -m true 2>&1; cat {live.site.state}/lock 2>&1; echo x 2>&1 > /proc/sys/kernel/hostname
        busybox nc -w 1 127.0.0.1 {live.daemon.port} 2>&1 < /dev/null && echo reached
        for process in /proc/[0-9]*; do cat "$process/comm"; done
    """
    said = run(live, "shell", build, "sh", "-c", probes).stdout.decode()

    for refusal in ("mount: permission denied", "can't open '/disk': Permission denied", "unshare: unshare("):
        assert refusal in said
    assert f"can't open '{live.site.state}/lock': No such file or directory" in said
    assert "can't create /proc/sys/kernel/hostname: Read-only file system" in said
    assert "reached" not in said
    assert {"python", "sh", "cat"} >= set(said.partition("Connection refused\n")[2].split("sandbox:")[0].split())


class Typist:
    """The tool at a terminal, in which a test types."""

    def __init__(self, live: Live, *arguments: str) -> None:
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            command = argv(live, *arguments)
            os.execve(command[0], command, {**os.environ, "TERM": "vt102"})
        self.said = b""
        self.ended: int | None = None

    def hear(self, words: bytes) -> None:
        """Return when the terminal shows something, after what was heard before."""
        while words not in self.said:
            self.said += os.read(self.terminal, 4096)
        self.said = self.said.partition(words)[2]

    def __enter__(self) -> Self:
        self.hear(PROMPT)
        return self

    def __exit__(self, *_: object) -> None:
        if self.ended is None:
            os.kill(self.pid, signal.SIGKILL)
            self.end()

    def type(self, words: bytes) -> None:
        """Type something."""
        os.write(self.terminal, words)

    def end(self) -> tuple[int, list[object]]:
        """How the tool has ended, and how it left its terminal."""
        try:
            while data := os.read(self.terminal, 4096):
                self.said += data
        except OSError:
            pass
        settings = termios.tcgetattr(self.terminal)
        os.close(self.terminal)
        self.ended = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.ended, settings

    def resize(self, rows: int, columns: int) -> None:
        """Change the window's size."""
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def test_a_terminal_all_the_way(live: Live, build: str) -> None:
    """Keys go to the program in front, its window is as large as ours, and our terminal is afterwards as before."""
    ours, theirs = os.openpty()
    before = termios.tcgetattr(theirs)
    with Typist(live, "shell", build) as typist:
        typist.type(b"sh -c 'busybox tty; echo $TERM $((6*7)); exec sleep 1000'\n")
        typist.hear(b"/dev/pts/0\r\nvt102 42\r\n")
        typist.type(b"\x03")
        typist.hear(PROMPT)
        typist.resize(33, 99)
        typist.type(b"until busybox stty size | busybox grep '33 99'; do sleep 0.1; done; exit 5\n")
        typist.hear(b"33 99\r\n")
        ended = typist.end()
    for terminal in (ours, theirs):
        os.close(terminal)

    assert (5, before) == ended


def test_one_at_a_time(live: Live, build: str) -> None:
    """Who comes second is told that somebody is there."""
    with Typist(live, "shell", build) as typist:
        second = run(live, "shell", build, "true", who="user")
        typist.type(b"exit\n")
        first, _ = typist.end()

    assert 0 == first
    assert (1, f"Error: somebody works in the tree of build {build} already\n") == (
        second.returncode,
        second.stderr.decode(),
    )
    assert 0 == run(live, "shell", build, "true", who="user").returncode


def test_commands_that_cannot_be_run(live: Live, build: str) -> None:
    """The exit statuses of a shell: 127 where there is no such program, 128 and more for signals."""
    absent = run(live, "shell", build, "no-such-program")

    assert (127, b"no-such-program: not found\n") == (absent.returncode, absent.stdout)
    assert 128 + signal.SIGKILL == run(live, "shell", build, "sh", "-c", "kill -9 $$").returncode


@pytest.mark.parametrize(
    ("who", "name", "sentence"),
    [
        ("mallory", "", "no permission to build: failing"),
        ("alice", "01KAS3F9Z8Q0V6XW4T2N5B7C8D", "the tree of build 01KAS3F9Z8Q0V6XW4T2N5B7C8D is not kept"),
        ("alice", "../../etc", "build id '../../etc': expected the 26 characters of a ULID"),
    ],
)
def test_refusals(live: Live, build: str, who: str, name: str, sentence: str) -> None:
    """Whoever may not build a stream sees nothing of its trees; what is not kept cannot be opened."""
    ended = run(live, "shell", name or build, "id", who=who)

    assert (1, b"") == (ended.returncode, ended.stdout)
    assert sentence in ended.stderr.decode()


def test_strangers(live: Live, build: str) -> None:
    """Without a certificate nothing is opened; over plain HTTP, and by forms of other sites, neither."""
    body = json.dumps({"BuildId": build}).encode()
    plain = urllib.request.Request(live.daemon.url + "shell", body, {"Content-Type": "application/json"})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(plain)
    refused.value.close()
    nobody = Client("127.0.0.1", live.daemon.port, Credentials(None, None, live.site.authority))
    with pytest.raises(RpcError) as unknown:
        next(nobody.lines("/shell", BuildId=build))

    assert 403 == refused.value.code
    assert -32001 == unknown.value.code


def test_nobody_types_for_others(live: Live, build: str) -> None:
    """Whoever learns of a shell's id cannot use it under another name, though with full access."""
    with live.client("alice") as alice, live.client() as user:
        lines = alice.lines("/shell", BuildId=build, Command=["cat"])
        shell = next(lines)["ShellId"]
        with pytest.raises(RpcError, match="no such shell is open"):
            user.call("Imaginator.WriteToShell", ShellId=shell, End=True)
        alice.call("Imaginator.WriteToShell", ShellId=shell, End=True)

        assert [{"End": {"ExitStatus": 0, "Reason": ""}}] == list(lines)


def used(live: Live) -> list[int]:
    """The processes in the trees of the daemon's site."""
    return [pid for pid, _ in processes() if uses(pid, live.site)]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_a_client_that_goes_away(live: Live, build: str, number: signal.Signals) -> None:
    """Its shell ends with everything in it, also what it has put into the background; the next one can be opened."""
    with Typist(live, "shell", build) as typist:
        typist.type(b"(trap '' HUP TERM; while true; do sleep 0.1; done) & echo $((6*7))\n")
        typist.hear(b"42\r\n")
        os.kill(typist.pid, number)
        typist.end()
    poll(lambda: not used(live), "the shell's processes to end")

    assert 0 == run(live, "shell", build, "true").returncode


def test_what_is_logged(live: Live, build: str) -> None:
    """The daemon's log says who opened what and how that ended, and nothing of what was done there."""
    run(live, "shell", build, "sh", "-c", "echo not-to-be-logged; exit 9")
    log = live.daemon.log.read_text()

    assert f"alice opens a shell in the tree of build {build}" in log
    assert f"the shell of alice in the tree of build {build} has ended: exit status 9" in log
    assert "not-to-be-logged" not in log


def test_the_time_is_over(live: Live) -> None:
    """When a tree's time is over, its shell ends, and both are gone."""
    build = fail(live, KeepFailed=1)
    started = time.monotonic()
    ended = run(live, "shell", build, "sleep", "1000") if (live.site.state / "kept" / build).exists() else None
    poll(lambda: not (live.site.state / "kept" / build).exists(), "the tree to go")

    assert time.monotonic() < started + 60
    assert ended is None or (1, b"Error: ") == (ended.returncode, ended.stderr[:7])
    assert b"is not kept" in run(live, "shell", build, "true").stderr


def test_a_build_that_ran_out_of_its_time(live: Live) -> None:
    """Its tree is kept, when all that hung in it has ended; that of a cancelled build is not."""
    hanging = f"#!/bin/sh\necho so far > /etc/half\ntrap '' TERM\n(trap '' TERM; sleep {LONG}) &\nsleep {LONG}\n"
    live.add_stream("hanging", {"manifest": OVER_SMALL, "scripts/hang": hanging}, BuilderUsers=["alice"])
    late = fail(live, stream="hanging", MaximumBuildDuration=3)
    running = [command for _, command in processes() if f"sleep {LONG}" in command]
    with live.client("alice") as client:
        wanted = {"KeepFailed": 3600, "ExpiresIn": 3600, "MaxSourceAge": 86400}
        cancelled = client.call("Imaginator.SubmitBuild", StreamName="hanging", **wanted)["BuildId"]
        poll(lambda: client.call("Imaginator.GetBuild", BuildId=cancelled).get("Stage") == "scripts", "the script")
        client.call("Imaginator.CancelBuild", BuildId=cancelled)

    assert [] == running
    assert b"so far\n" == run(live, "shell", late, "cat", "/etc/half").stdout
    assert f" UTC: builder-tool shell {late}\n" in live.log(late)
    assert "the build took longer than 3s" in live.log(late)
    assert not (live.site.state / "kept" / cancelled).exists()
    assert [] == leftovers(live.site)


def test_too_long(live: Live) -> None:
    """A request cannot have its tree kept for ever."""
    with pytest.raises(RpcError, match="the tree of a failed build is kept for 1d at most"):
        fail(live, KeepFailed=86401)


def test_nothing_is_kept_unasked(live: Live) -> None:
    """By default a failed build leaves nothing."""
    build = fail(live, KeepFailed=0)

    assert not (live.site.state / "kept" / build).exists()
    assert "is kept" not in live.log(build)


def test_a_failed_bootstrap(live: Live) -> None:
    """What a bootstrap command has left can be looked at from within, and not as the host's root."""
    script = live.site.folder / "small-bootstrap"
    broken = live.site.folder / "broken-bootstrap"
    broken.write_text(script.read_text() + "exit 6\n")
    live.site.configure(
        {"small": small_bootstrap(live.site.folder), "broken": ["sh", str(broken), "$dir"]},
        live._streams,
        SMALL_PACKAGER,
    )
    build = fail(live, "user", "broken")
    ended = run(live, "shell", build, "sh", "-c", "cat /etc/release /proc/self/uid_map", who="user")

    assert ended.stdout.startswith(b"small 1\n")
    assert b" 4294967295" not in ended.stdout
    assert b"no permission to build: broken" in run(live, "shell", build, "true").stderr


def test_restarts(live: Live, build: str) -> None:
    """A daemon that is killed takes its shells along; the next one has the tree still, with what was changed in it."""
    with Typist(live, "shell", build) as typist:
        typist.type(b"echo before > /restarted; sleep 1000 & echo $((6*7))\n")
        typist.hear(b"42\r\n")
        live.daemon.kill()
        poll(lambda: not used(live), "the shell's processes to end")
        status, _ = typist.end()
    live.daemon.start()
    ended = run(live, "shell", build, "cat", "/restarted")

    assert 1 == status
    assert (0, b"before\n") == (ended.returncode, ended.stdout)
    assert [] == leftovers(live.site)


def test_a_daemon_that_stops(live: Live, build: str) -> None:
    """Its shells end with it."""
    with Typist(live, "shell", build) as typist:
        live.daemon.stop()
        status, _ = typist.end()
    left = leftovers(live.site)
    live.daemon.start()

    assert (1, []) == (status, left)
