"""What the daemon and the holder process send each other: a length, then a value in Python's marshal form.

Both ends are this very interpreter and trust each other; marshal costs no import, where json would double the
holder's start. Values are tuples, lists, bytes, text and numbers. A request is ``(operation, arguments)``; its answer
is any number of ``("part", list)``, then ``("done", value)`` or ``("error", sentence)``.
"""

from __future__ import annotations

import marshal
import struct

TYPE_CHECKING = False  # importing typing would take as long as starting Python does
if TYPE_CHECKING:
    from typing import Any

PART = 256
"""Most items of one part: decoding it takes well under a millisecond."""

_LENGTH = struct.Struct("<I")


def encode(value: Any) -> bytes:
    """A frame."""
    data = marshal.dumps(value)
    return _LENGTH.pack(len(data)) + data


class Decoder:
    """Cuts frames out of a stream."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> list[Any]:
        """The values of the frames that are complete by now."""
        self._data += data
        values = []
        start = 0
        while len(self._data) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._data, start)
            end = start + _LENGTH.size + length
            if len(self._data) < end:
                break
            values.append(marshal.loads(self._data[start + _LENGTH.size : end]))
            start = end
        del self._data[:start]
        return values
