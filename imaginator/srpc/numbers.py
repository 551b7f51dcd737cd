"""Gob's numbers, in as few bytes as they need (Go's encoding/gob, "Encoding Details").

An unsigned number below 128 is one byte; a greater one is the negated count of its bytes, then those, the highest
first. A signed one is an unsigned one whose lowest bit says that all others are complemented. A float's bytes are
reversed, since the lowest are often zero.
"""

from __future__ import annotations

import struct

from imaginator.srpc.errors import BadGob

LARGEST = 8
"""Bytes of a number."""


class Source:
    """Bytes that are read from ``position`` to ``end``.

    ``depth`` is that of the value within which they are read; ``elements`` counts those of lists and maps,
    ``definitions`` the types that were defined meanwhile.
    """

    __slots__ = ("data", "definitions", "depth", "elements", "end", "position")

    def __init__(self, data: bytes, position: int, end: int) -> None:
        self.data = data
        self.position = position
        self.end = end
        self.depth = 0
        self.elements = 0
        self.definitions = 0

    def take(self, count: int) -> bytes:
        """So many bytes; raises `BadGob` where there are fewer."""
        start = self.position
        if count > self.end - start:
            raise BadGob(f"{count} bytes announced at {start}, of which {self.end - start} are there")
        self.position = start + count
        return self.data[start : self.position]

    def unsigned(self) -> int:
        """An unsigned number."""
        position = self.position
        if position >= self.end:
            raise BadGob(f"ends at {position}, within a value")
        first = self.data[position]
        self.position = position + 1
        if first < 128:
            return first
        if 256 - first > LARGEST:
            raise BadGob(f"number of {256 - first} bytes at {position}, at most {LARGEST} are allowed")
        return int.from_bytes(self.take(256 - first), "big")

    def signed(self) -> int:
        """A signed number."""
        number = self.unsigned()
        return ~(number >> 1) if number & 1 else number >> 1

    def float(self) -> float:
        """A floating-point number of 64 bits."""
        return float(struct.unpack(">d", self.unsigned().to_bytes(LARGEST, "little"))[0])

    def text(self) -> str:
        """A string; what is not UTF-8 in it comes as surrogates (PEP 383)."""
        return self.take(self.unsigned()).decode("utf-8", "surrogateescape")


def unsigned(number: int) -> bytes:
    """The bytes of an unsigned number; raises ValueError for one that has more than 64 bits or is negative."""
    if 0 <= number < 128:
        return _SMALL[number]
    try:
        data = number.to_bytes(LARGEST, "big").lstrip(b"\0")
    except OverflowError:
        raise ValueError(f"{number} is no unsigned number of 64 bits") from None
    return _COUNTS[len(data)] + data


def signed(number: int) -> bytes:
    """The bytes of a signed number."""
    if not -(1 << 63) <= number < 1 << 63:
        raise ValueError(f"{number} is no signed number of 64 bits")
    return unsigned(~number << 1 | 1 if number < 0 else number << 1)


def float_bytes(number: float) -> bytes:
    """The bytes of a floating-point number."""
    return unsigned(int.from_bytes(struct.pack(">d", number), "little"))


_COUNTS = [b"", *(bytes((256 - count,)) for count in range(1, LARGEST + 1))]
_SMALL = [bytes((number,)) for number in range(128)]
