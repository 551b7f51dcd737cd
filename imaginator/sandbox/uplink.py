"""The process that carries a build's packets: slirp4netns(1), a program of the host. Standard library only.

It opens, for each connection of the build, one of its own in the host's network. It is the host's root without its
capabilities, filters its own system calls, and sees no file but one that names the host's name servers. It ends with
the holder: by a signal, and by the end of a pipe.
"""

from __future__ import annotations

import errno
import os
import select
import signal

from imaginator.sandbox import programs
from imaginator.sandbox.beneath import write_all
from imaginator.sandbox.kernel.mounts import MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_PRIVATE, MS_REC, mount
from imaginator.sandbox.kernel.namespaces import CLONE_NEWNS, unshare

PROGRAM = "slirp4netns"
INTERFACE = "tap0"
LARGEST_PACKET = 65520
"""Bytes: carrying costs by the packet."""

LONGEST_START = 10.0
"""Seconds, of which it needs a hundredth."""

_RESOLVER = "/etc/resolv.conf"
_NAMESPACE, _READY, _LIFE = 3, 4, 5


class Uplink:
    """One slirp4netns, which is starting when this is made; to be closed."""

    def __init__(self, namespace: int, host_loopback: bool, ipv6: bool) -> None:
        """Start it for a network namespace; raises `OSError`.

        With ``host_loopback`` the host's loopback answers at the build's side of slirp4netns' network.
        """
        self._ready, ready = os.pipe()
        self._words, words = os.pipe()
        life, self._life = os.pipe()
        nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        files = (nothing, words, words, namespace, ready, life)
        try:
            self._pid = programs.start(_argv(host_loopback, ipv6), files, _prepare)
        finally:
            for file in (nothing, words, ready, life):
                os.close(file)

    def wait(self) -> None:
        """Wait until packets pass; raises `OSError` with its words where they never will."""
        poll = select.poll()
        poll.register(self._ready, select.POLLIN)
        heard = poll.poll(LONGEST_START * 1000)
        words, self._words = self._words, -1
        # Once nobody reads them, its words cannot fill a pipe: a build could make it say much.
        if heard and os.read(self._ready, 1):
            os.close(words)
        else:
            end = self._end()
            reason = programs.read_to_end(words).strip() or (end if heard else f"not within {LONGEST_START:g} s")
            raise OSError(errno.EIO, f"{PROGRAM} does not start: {reason}")

    def lives(self) -> bool:
        """Whether it still runs."""
        if self._pid and os.waitpid(self._pid, os.WNOHANG)[0]:
            self._pid = 0
        return bool(self._pid)

    def _end(self) -> str:
        """End it, and tell how it ended: a kill does not change that of one that is about to."""
        pid, self._pid = self._pid, 0
        os.kill(pid, signal.SIGKILL)
        return programs.ending(os.waitpid(pid, 0)[1])

    def close(self) -> None:
        """End it."""
        if self.lives():
            self._end()
        for file in (self._ready, self._words, self._life):
            if file >= 0:
                os.close(file)


def _argv(host_loopback: bool, ipv6: bool) -> list[str]:
    return [
        PROGRAM,
        "--configure",
        "--enable-sandbox",
        "--enable-seccomp",
        f"--mtu={LARGEST_PACKET}",
        f"--ready-fd={_READY}",
        f"--exit-fd={_LIFE}",
        *([] if host_loopback else ["--disable-host-loopback"]),
        *(["--enable-ipv6"] if ipv6 else []),
        "--netns-type=path",
        f"/proc/self/fd/{_NAMESPACE}",
        INTERFACE,
    ]


def _prepare() -> None:
    """In the new process: two empty folders instead of the host's, which its own sandbox would show it."""
    resolver = _resolver()
    unshare(CLONE_NEWNS)
    mount(b"none", b"/", b"", MS_PRIVATE | MS_REC)
    for folder in (b"/run", b"/etc"):
        mount(b"tmpfs", folder, b"tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, b"mode=0755,size=1m")
    descriptor = os.open(_RESOLVER, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    write_all(descriptor, resolver)
    os.close(descriptor)


def _resolver() -> bytes:
    try:
        with open(_RESOLVER, "rb") as file:
            return file.read()
    except OSError:
        return b""
