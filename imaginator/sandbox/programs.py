"""Programs of the host that the holder runs: with the descriptors that they are given and no other. See execve(2).

Standard library only (see `holder`); `subprocess` would take as long to import as such a program takes to work.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from collections.abc import Callable, Sequence

from imaginator.sandbox.kernel.privileges import die_with_parent

PLACES = ("/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin", "/bin")
ENVIRONMENT = {"PATH": ":".join(PLACES), "LC_ALL": "C"}
_FIRST_FREE = 64


def find_program(name: str) -> str | None:
    """Where a program lies, None where it is not installed."""
    paths = (os.path.join(place, name) for place in PLACES)
    return next((path for path in paths if os.access(path, os.X_OK)), None)


def start(argv: Sequence[str], files: Sequence[int], prepare: Callable[[], None] = lambda: None) -> int:
    """Fork a program that ends with this process; its process id.

    ``files`` become its descriptors from 0 on; ``prepare`` is called in the new process before it is the program.
    Raises FileNotFoundError where it is not installed; a failure of ``prepare`` is written to descriptor 2.
    """
    program = find_program(argv[0])
    if program is None:
        raise FileNotFoundError(errno.ENOENT, "program not found", argv[0])
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        die_with_parent(parent)
        _place(files)
        prepare()
        os.execve(program, list(argv), ENVIRONMENT)
    except OSError as error:
        os.write(2, f"{error.filename or argv[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(127)


def _place(files: Sequence[int]) -> None:
    high = [fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, _FIRST_FREE) for file in files]
    for target, source in enumerate(high):
        os.dup2(source, target)
    os.closerange(len(files), os.sysconf("SC_OPEN_MAX"))


def run(argv: Sequence[str], text: str) -> str:
    """What a program says, which reads ``text``; raises `OSError` with its complaint where it fails."""
    source, sink = os.pipe()
    given = os.memfd_create("text")
    try:
        os.write(given, text.encode())
        os.lseek(given, 0, os.SEEK_SET)
        pid = start(argv, (given, sink, sink))
    finally:
        os.close(given)
        os.close(sink)
    said = read_to_end(source)
    _, status = os.waitpid(pid, 0)
    if status:
        raise OSError(errno.EIO, f"{argv[0]} failed: {said.strip() or ending(status)}")
    return said


def ending(status: int) -> str:
    """How a program ended, by what waitpid(2) says of it: ``exit status 3``, ``killed by SIGKILL``."""
    code = os.waitstatus_to_exitcode(status)
    return f"exit status {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"


def read_to_end(source: int) -> str:
    """What is left in a pipe, which is closed."""
    try:
        parts = iter(lambda: os.read(source, 1 << 16), b"")
        return b"".join(parts).decode(errors="replace")
    finally:
        os.close(source)
