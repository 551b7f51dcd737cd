"""Work in several processes at once, forked from one without threads. Standard library only (see `holder`).

Threads would take turns: hashing and writing many small files is mostly interpreter time.
"""

from __future__ import annotations

import marshal
import os
from collections.abc import Callable, Sequence

from imaginator.sandbox.beneath import write_all
from imaginator.sandbox.kernel.privileges import die_with_parent

TYPE_CHECKING = False  # importing typing would take as long as starting Python does
if TYPE_CHECKING:
    from typing import Any

_BLOCK = 1 << 20


def side_by_side(works: Sequence[Callable[[], list[Any]]]) -> list[list[Any]]:
    """What each work returns, in values that marshal knows.

    The last work is done here, each other one in a process of its own. Raises the first ``OSError`` of any of them
    when all have ended.
    """
    parent = os.getpid()
    others = [_start(work, parent) for work in works[:-1]]
    last = _outcome(works[-1])
    results = []
    for pid, descriptor in others:
        data = b"".join(iter(lambda descriptor=descriptor: os.read(descriptor, _BLOCK), b""))  # type: ignore[misc]
        os.close(descriptor)
        os.waitpid(pid, 0)
        results.append(marshal.loads(data) if data else ([], (0, "a process of the holder was killed", "")))
    results.append(last)
    for _, failure in results:
        if failure:
            raise OSError(*failure)
    return [items for items, _ in results]


def _start(work: Callable[[], list[Any]], parent: int) -> tuple[int, int]:
    """Begin a work in a process; its id, and where its outcome can be read."""
    source, sink = os.pipe()
    pid = os.fork()
    if pid:
        os.close(sink)
        return pid, source
    try:
        die_with_parent(parent)
        write_all(sink, marshal.dumps(_outcome(work)))
    finally:
        os._exit(0)


def _outcome(work: Callable[[], list[Any]]) -> tuple[list[Any], tuple[Any, ...] | None]:
    """What a work returned, and the parts of the error that ended it."""
    try:
        return work(), None
    except OSError as error:
        return [], (error.errno, error.strerror, error.filename)
