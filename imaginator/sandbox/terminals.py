"""The terminal of a command that somebody talks to: made in the command's own ``/dev/pts``, held by the daemon.

Init opens both ends and hands the outer one to the attendant, which shows it to the daemon (see `dialogue`) and closes
its own when the daemon has it. Nobody stands between: what a terminal cannot take waits in the program that wrote it,
and when the daemon lets go, the kernel hangs up. See pty(7) and ioctl_tty(2). Standard library only.
"""

from __future__ import annotations

import fcntl
import os
import struct
import termios

_MULTIPLEXER = "/dev/pts/ptmx"
_LOCK = 0x40045431
"""TIOCSPTLCK."""
_PEER = 0x5441
"""TIOCGPTPEER: opens the inner end by the outer one, whatever lies at its path."""


def open_terminal() -> tuple[int, int]:
    """The outer and the inner end of a new terminal; raises `OSError`, also where an image brings such a file along."""
    outer = os.open(_MULTIPLEXER, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(outer, _LOCK, struct.pack("i", 0))
    return outer, fcntl.ioctl(outer, _PEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)


def show(outer: int, status: int, answer: int) -> None:
    """Let the daemon take the outer end, and close it here.

    The daemon is told its number by the pipe ``status``, and answers by the pipe ``answer``.
    """
    os.write(status, b"%d\n" % outer)
    os.read(answer, 1)
    os.close(outer)


def use(inner: int) -> None:
    """Let a terminal be the one of this session, and its standard files."""
    fcntl.ioctl(inner, termios.TIOCSCTTY, 0)
    for number in range(3):
        os.dup2(inner, number)


def set_size(terminal: int, rows: int, columns: int) -> None:
    """Tell a terminal its size, and by a signal whoever works in it."""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
