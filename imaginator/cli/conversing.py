"""A shell at the other end: what it says goes to standard output, what it is to read comes from standard input.

Where both are a terminal, that becomes a raw one, and every key goes to the shell, Ctrl-C too. Two connections, each
with a thread: one listens, the other tells what was typed and how large the window is.
"""

from __future__ import annotations

import base64
import os
import select
import signal
import sys
import termios
import threading
import tty
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import click

from imaginator.rpc.client import Client, ClientError

_WORDS = 16 * 1024
"""Bytes that are sent at once."""

_ROWS, _COLUMNS = 24, 80
"""The size of a terminal that does not know its own, such as a serial line."""

_RESIZED, _OVER = b"r", b"o"
_PATIENCE = 1.0


def converse(speaking: Client, listening: Client, build_id: str, command: Sequence[str]) -> int:
    """Run a command in the tree of a build with this process's standard files; its exit status.

    Raises `click.ClickException` where it was ended before its time, and `ClientError`.
    """
    has_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    wanted: dict[str, Any] = {"BuildId": build_id, "Command": list(command)}
    if has_terminal:
        wanted |= {**_size(), "Terminal": os.environ.get("TERM", "")}
    with closing(listening.lines("/shell", **wanted)) as lines:
        shell_id = next(lines)["ShellId"]
        with _raw(has_terminal), _Speaker(speaking, shell_id, has_terminal).at_work():
            end = _listen(lines)
    if end["Reason"]:
        raise click.ClickException(f"the shell was ended: {end['Reason']}")
    status: int = end["ExitStatus"]
    return status


def _listen(lines: Iterator[dict[str, Any]]) -> dict[str, Any]:
    """Show what the shell says; how it ended."""
    for line in lines:
        if "End" in line:
            end: dict[str, Any] = line["End"]
            return end
        _show(base64.b64decode(line["Output"]))
    raise ConnectionError


def _size() -> dict[str, int]:
    columns, rows = os.get_terminal_size(sys.stdin.fileno())
    return {"Rows": rows or _ROWS, "Columns": columns or _COLUMNS}


def _show(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


@contextmanager
def _raw(has_terminal: bool) -> Iterator[None]:
    """Let the terminal pass on every key and show what it is given; whatever ends this, it is put back."""
    if not has_terminal:
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    handlers = {number: signal.signal(number, _leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        tty.setraw(sys.stdin)
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _leave(number: int, _frame: object) -> None:
    sys.exit(128 + number)


class _Speaker:
    """Tells a shell what it is to read, and the size of its window."""

    def __init__(self, client: Client, shell_id: str, has_terminal: bool) -> None:
        self._client = client
        self._shell_id = shell_id
        self._has_terminal = has_terminal
        self._hears, self._wakes = os.pipe()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Speak in a thread as long as the context lasts."""
        thread = threading.Thread(target=self._speak, daemon=True)
        if self._has_terminal:
            before = signal.signal(signal.SIGWINCH, lambda *_: self._wake(_RESIZED))
        thread.start()
        try:
            yield
        finally:
            if self._has_terminal:
                signal.signal(signal.SIGWINCH, before)
            self._wake(_OVER)
            thread.join(_PATIENCE)

    def _wake(self, word: bytes) -> None:
        os.write(self._wakes, word)

    def _speak(self) -> None:
        """Where this cannot go on, the shell has ended or cannot be reached; whoever listens learns of either."""
        sources = [self._hears, sys.stdin.fileno()]
        try:
            while True:
                ready = select.select(sources, [], [])[0]
                if self._hears in ready:
                    if _OVER in os.read(self._hears, 64):
                        return
                    self._tell(**_size())
                elif words := os.read(sys.stdin.fileno(), _WORDS):
                    self._tell(Data=base64.b64encode(words).decode())
                else:
                    self._tell(End=True)
                    sources.pop()
        except (ClientError, OSError):
            return

    def _tell(self, **what: Any) -> None:
        self._client.call("Imaginator.WriteToShell", ShellId=self._shell_id, **what)
