"""The process that holds a build's tree: it does what the daemon asks for, one request at a time.

It owns a mount namespace, in which its `Holder` mounts; that ends with the process, and the process with the daemon
(PR_SET_PDEATHSIG, and the end of its standard input). Requests come over standard input and are answered over standard
output (see `frames`). Standard library only, so that it starts in 15 ms.

Started as ``serving.main`` with the daemon's process id. The first request, ``prepare``, names the workspace, its
control groups and the limits of its disk; the second one, ``open``, the lower directories and the policy of commands.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterable, Iterator

from imaginator.sandbox.beneath import write_all
from imaginator.sandbox.frames import PART, Decoder, encode
from imaginator.sandbox.ground import prepare
from imaginator.sandbox.holder import Holder
from imaginator.sandbox.kernel.privileges import die_with_parent
from imaginator.sandbox.origin import NotCopyable

TYPE_CHECKING = False  # importing typing would take as long as starting Python does
if TYPE_CHECKING:
    from typing import Any


def _answer(holder: Holder, operation: str, arguments: tuple[Any, ...]) -> Iterator[tuple[str, Any]]:
    """The frames of one answer."""
    try:
        result = getattr(holder, operation)(*arguments)
        if isinstance(result, Iterator):
            for part in _parts(result):
                yield "part", part
            result = None
        yield "done", result
    except NotCopyable as error:
        yield "error", _printable(str(error))
    except OSError as error:
        yield "error", _sentence(error)


def _sentence(error: OSError) -> str:
    # The name is a number where a call was given a descriptor.
    where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) and error.filename else ""
    return _printable(f"{where}{error.strerror or error}")


def _printable(sentence: str) -> str:
    """Text that can be written as UTF-8, whatever bytes a name holds."""
    return os.fsencode(sentence).decode(errors="backslashreplace")


def _parts(items: Iterable[Any]) -> Iterator[list[Any]]:
    part = []
    for item in items:
        part.append(item)
        if len(part) == PART:
            yield part
            part = []
    if part:
        yield part


def _requests() -> Iterator[tuple[str, tuple[Any, ...]]]:
    decoder = Decoder()
    while data := os.read(0, 1 << 16):
        yield from decoder.feed(data)


def _serve(requests: Iterator[tuple[str, tuple[Any, ...]]]) -> None:
    _, workspace = next(requests, ("", None))
    if workspace is None:
        return
    ground = _needed(lambda: prepare(*workspace))
    holder: Holder | None = None
    for operation, arguments in requests:
        if holder is None:
            holder = _needed(lambda tree=arguments: Holder(ground, *tree))  # type: ignore[misc]
            continue
        holder.reap()
        for frame in _answer(holder, operation, arguments):
            write_all(1, encode(frame))


def _needed(make: Callable[[], Any]) -> Any:
    """What one of the first two requests makes; without it there is nothing to serve."""
    try:
        made = make()
    except OSError as error:
        write_all(1, encode(("error", _sentence(error))))
        sys.exit(1)
    write_all(1, encode(("done", None)))
    return made


def main(parent: str) -> None:
    """Serve until standard input ends; the first answer tells that the tree is there, or why not."""
    die_with_parent(int(parent))
    os.setsid()
    os.umask(0)
    os.chdir("/")
    # What is listed here holds no cycles, and collections would walk it again and again.
    gc.disable()
    _serve(_requests())
