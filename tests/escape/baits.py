"""The host that probes try to reach: its files, processes, sockets, keys, disk and interface, all made for them.

They lie in the namespaces of this process, which `host` gives it, so that nothing of the real host is in reach even
where a probe succeeds. What a namespace cannot hold, such as a key or a loop device, ends with the process.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.escape.inside.probing import MARK, World, call, check, libc

INTERFACE = "bait0"
HOSTS = {"own": "192.0.2.1", "metadata": "169.254.169.254", "link-local": "169.254.7.7", "gateway": "10.0.2.2"}
"""All of them on the interface: a route to them is there, and nothing but a sandbox stands before them."""

INSIDE = Path("tests/escape/inside")
KEY = b"escape-bait"
_FIRST_PROCESS = 20_000
_SESSION = -3
_EVERYTHING = 0x3F3F3F3F


class Baits:
    """A world, and where it lies: ``secrets``, and ``share``, which is bound into every tree."""

    def __init__(self, folder: Path, world: World, terminal: int, directory: int) -> None:
        self.world = world
        self.folder = folder
        self.secrets = folder / "host"
        self.share = self.secrets / "share"
        self.terminal = terminal
        self.directory = directory

    def check(self) -> None:
        """Raise `OSError` where a service has ended meanwhile: probes that found it silent would have shown nothing."""
        for family, address in ((socket.AF_UNIX, f"\0{self.world.abstract}"), (socket.AF_INET, self._port)):
            with socket.socket(family) as client:
                client.connect(address)
                if MARK not in client.recv(64):
                    raise OSError(errno.EIO, "the bait is gone", str(address))

    @property
    def _port(self) -> tuple[str, int]:
        return "127.0.0.1", self.world.port

    def clear(self) -> None:
        """Forget what probes did, so that the next place starts anew."""
        libc.sethostname(b"host", ctypes.c_size_t(4))
        libc.setdomainname(b"host", ctypes.c_size_t(4))
        for name in ("signalled-10", "signalled-12", "written"):
            (self.secrets / name).unlink(missing_ok=True)


@contextmanager
def baits(folder: Path, expendable: bool) -> Iterator[Baits]:
    """Put everything out, in this process' namespaces, and take in again what outlives them."""
    mark = MARK.decode() + os.urandom(8).hex()
    secrets = folder / "host"
    (secrets / "share").mkdir(parents=True)
    (secrets / "secret").write_text(mark)
    (secrets / "secret").chmod(0o600)
    (secrets / "share/file").write_text("a file that everyone reads")
    shutil.copytree(INSIDE, secrets / "share" / INSIDE, ignore=shutil.ignore_patterns("__pycache__"))
    terminal = _take_terminal()
    with ExitStack() as stack:
        _raise_interface()
        disk = stack.enter_context(_disk(folder, secrets))
        service = stack.enter_context(_service(secrets, mark))
        handle, kind = _handle(secrets / "secret")
        python = os.stat("/proc/self/exe")
        world = World(
            expendable=expendable,
            secret=str(secrets / "secret"),
            handle=handle,
            handle_type=kind,
            program=(python.st_dev, python.st_ino),
            namespaces={name: os.stat(f"/proc/self/ns/{name}").st_ino for name in ("mnt", "pid", "net", "ipc", "uts")},
            disk=disk,
            hosts=HOSTS,
            interface=INTERFACE,
            segment=_segment(mark.encode()),
            queue=_queue(),
            key=_key(mark.encode()),
            **service,
        )
        world.dump(secrets / "share/world.json")
        os.environ["ESCAPE_BAIT"] = mark
        directory = os.open(secrets, os.O_RDONLY)
        os.set_inheritable(directory, True)
        stack.callback(os.close, directory)
        yield Baits(folder, world, terminal, directory)


def _take_terminal() -> int:
    """Become the leader of a session with a terminal of its own, as whoever starts a daemon by hand is."""
    with suppress(PermissionError):
        os.setsid()
    _, terminal = os.openpty()
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
    return terminal


def _raise_interface() -> None:
    # Not every kernel has dummy interfaces; a bridge without ports is as good.
    if _ip(f"link add {INTERFACE} type dummy") and _ip(f"link add {INTERFACE} type bridge"):
        raise RuntimeError("this kernel makes neither a dummy interface nor a bridge")
    for words in ("link set lo up", f"link set {INTERFACE} up"):
        _ip(words)
    for address in HOSTS.values():
        _ip(f"addr add {address}/32 dev {INTERFACE}")


def _ip(words: str) -> int:
    return subprocess.run(["busybox", "ip", *words.split()], check=False, stderr=subprocess.DEVNULL).returncode


@contextmanager
def _disk(folder: Path, secrets: Path) -> Iterator[tuple[int, int]]:
    """A loop device with a file system that has a secret; it is gone with the descriptor that holds it."""
    image, contents = folder / "disk", folder / "contents"
    contents.mkdir()
    shutil.copy(secrets / "secret", contents / "secret")
    make = ["mke2fs", "-q", "-t", "ext2", "-d", str(contents), str(image), "1M"]
    subprocess.run(make, check=True, stdout=subprocess.DEVNULL)
    command = ["losetup", "--find", "--show", str(image)]
    device = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    descriptor = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
    subprocess.run(["losetup", "--detach", device], check=True)  # when it is closed
    number = os.stat(device).st_rdev
    try:
        yield os.major(number), os.minor(number)
    finally:
        os.close(descriptor)


@contextmanager
def _service(secrets: Path, mark: str) -> Iterator[dict[str, Any]]:
    # A number that no process of a new process namespace will have: a signal to it can only mean this one.
    with suppress(OSError):
        Path("/proc/sys/kernel/ns_last_pid").write_text(str(_FIRST_PROCESS))
    argv = [sys.executable, "-m", "tests.escape.service", str(secrets), mark]
    service = subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "ESCAPE_BAIT": mark}
    )
    try:
        assert service.stdout is not None
        yield {**json.loads(service.stdout.readline()), "victim": service.pid}
    finally:
        service.send_signal(signal.SIGKILL)
        service.communicate()


def _handle(path: Path) -> tuple[str, int]:
    """name_to_handle_at(2): the handle of a file and its type."""
    handle = (ctypes.c_uint * 34)(128)
    place = ctypes.c_int()
    check(libc.name_to_handle_at(-100, str(path).encode(), handle, ctypes.byref(place), 0), "name_to_handle_at")
    return bytes(handle)[8 : 8 + handle[0]].hex(), handle[1]


def _segment(mark: bytes) -> int:
    number = int.from_bytes(os.urandom(3), "big")
    segment = check(libc.shmget(number, ctypes.c_size_t(4096), 0o1666), "shmget")
    libc.shmat.restype = ctypes.c_void_p
    ctypes.memmove(libc.shmat(segment, None, 0), mark, len(mark))
    return number


def _queue() -> str:
    name = "/escape-bait"
    os.close(check(libc.mq_open(name.encode(), os.O_CREAT | os.O_RDWR, 0o666, None), "mq_open"))
    return name


def _key(mark: bytes) -> int:
    """A key in a session keyring of this process' own, which is gone with it."""
    call("keyctl", 1, None)
    key = call("add_key", b"user", KEY, mark, len(mark), _SESSION)
    call("keyctl", 5, key, _EVERYTHING)
    return key
