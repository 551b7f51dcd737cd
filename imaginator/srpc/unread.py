"""Bytes that have come and that nobody has read, taken from the front without moving what lies behind."""

from __future__ import annotations

_COMPACT = 256 * 1024
"""Bytes that were taken already, beyond which the rest is moved to the front."""


class Unread:
    """A queue of bytes."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._start = 0

    def __len__(self) -> int:
        return len(self._data) - self._start

    def add(self, data: bytes) -> None:
        """Put bytes behind the others."""
        self._data += data

    def take(self, count: int) -> bytes:
        """The first bytes, at most so many."""
        end = min(self._start + count, len(self._data))
        data = bytes(memoryview(self._data)[self._start : end])
        self._start = end
        if self._start == len(self._data):
            self._data.clear()
            self._start = 0
        elif self._start > _COMPACT:
            del self._data[: self._start]
            self._start = 0
        return data

    def until(self, mark: bytes) -> int:
        """How many bytes there are up to a mark, with it; 0 where it has not come."""
        place = self._data.find(mark, self._start)
        return place + len(mark) - self._start if place >= 0 else 0
