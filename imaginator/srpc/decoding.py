"""Gob as values: one `Decoder` a stream, which is fed bytes as they come and may be asked for a value at any time."""

from __future__ import annotations

from typing import Any, Final

from imaginator.srpc.errors import BadGob
from imaginator.srpc.kinds import Kind
from imaginator.srpc.kinds import kind as kind_of
from imaginator.srpc.numbers import LARGEST, Source
from imaginator.srpc.reading import Limits, Readers
from imaginator.srpc.unread import Unread

__all__ = ["NOTHING_YET", "Decoder", "Limits"]

NOTHING_YET: Final = object()
"""What `Decoder.next` gives while a value is not whole."""


class _Incomplete(Exception):
    """More bytes are needed, so many in all."""

    def __init__(self, needed: int) -> None:
        super().__init__(needed)
        self.needed = needed


class Decoder:
    """The decoder of one stream."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._readers = Readers(self._limits, self._message)
        self._data = bytearray()
        self._needed = 1

    def feed(self, data: bytes) -> None:
        """Take bytes as they have come."""
        self._data += data

    @property
    def pending(self) -> int:
        """Bytes that no value was made of yet."""
        return len(self._data)

    @property
    def ready(self) -> bool:
        """Whether asking for a value can lead further than last time."""
        return len(self._data) >= self._needed

    def wants(self, unread: Unread) -> int:
        """How many bytes of what has come to feed next, none beyond the value; 0 where there are none."""
        return min(max(self._needed - len(self._data), 0), len(unread))

    def rest(self) -> bytes:
        """What has come after the last value that was given: it is no more the decoder's."""
        rest = bytes(self._data)
        self._data.clear()
        return rest

    def next(self, hint: Any) -> Any:
        """The next value, which is to be of the type of an annotation; `NOTHING_YET` where it has not come whole.

        Fields that the type does not have are passed over, those that were not sent are as declared. Raises `BadGob`.
        """
        while len(self._data) >= self._needed:
            source = Source(bytes(self._data), 0, 0)
            known = self._readers.count
            try:
                value = self._one(source, kind_of(hint))
            except _Incomplete as incomplete:
                self._wait(incomplete.needed, known)
                break
            del self._data[: source.position]
            self._needed = 1
            if value is not NOTHING_YET:
                return value
        return NOTHING_YET

    def _wait(self, needed: int, known: int) -> None:
        """Forget what was begun, until so many bytes are there."""
        if needed > self._limits.value:
            raise BadGob(f"a value of {needed} bytes, at most {self._limits.value} are allowed")
        self._needed = needed
        self._readers.forget(known)

    def _one(self, source: Source, kind: Kind) -> Any:
        """A value, or `NOTHING_YET` after the definition of a type."""
        self._message(source)
        number = source.signed()
        if number < 0:
            self._readers.define(source, -number)
            value = NOTHING_YET
        else:
            if kind.message is None and source.unsigned():
                raise BadGob("a value that is no struct begins with 0")
            value = self._readers.reader(number, kind)(source)
        if source.position != source.end:
            raise BadGob(f"{source.end - source.position} bytes too many at the end of a message")
        return value

    def _message(self, source: Source) -> None:
        """Go on to the next message; raises `_Incomplete` where it has not come whole."""
        start = source.position
        source.end = len(source.data)
        first = source.data[start] if start < source.end else 0
        header = 1 if first < 128 else 257 - first
        if header <= LARGEST + 1 and source.end - start < header:
            raise _Incomplete(start + header)
        length = source.unsigned()
        if length > self._limits.message:
            raise BadGob(f"a message of {length} bytes, at most {self._limits.message} are allowed")
        if source.end - source.position < length:
            raise _Incomplete(source.position + length)
        source.end = source.position + length
