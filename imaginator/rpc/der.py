"""The one DER form that certificates of this ecosystem carry: SEQUENCE OF strings.

DER is ITU-T X.690: a tag, a length (one byte below 128, else a byte 0x80 + n and n bytes big-endian), the content.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

_SEQUENCE = 0x30
_UTF8_STRING = 0x0C
_STRINGS = {_UTF8_STRING: "utf-8", 0x13: "ascii", 0x16: "ascii"}
"""UTF8String, PrintableString and IA5String, with their encodings."""

_LONGEST_LENGTH = 4


def encode_strings(strings: Iterable[str]) -> bytes:
    """A SEQUENCE of UTF8Strings."""
    return _encode(_SEQUENCE, b"".join(_encode(_UTF8_STRING, text.encode()) for text in strings))


def decode_strings(data: bytes) -> tuple[str, ...]:
    """The strings of a SEQUENCE of UTF8, printable or IA5 strings; raises ValueError for anything else."""
    values = list(_values(data))
    if len(values) != 1 or values[0][0] != _SEQUENCE:
        raise ValueError("expected one DER SEQUENCE")
    return tuple(_text(tag, content) for tag, content in _values(values[0][1]))


def _encode(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content


def _values(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Each value's tag and content."""
    place = 0
    while place < len(data):
        tag = data[place]
        start, size = _length(data, place + 1)
        place = start + size
        if place > len(data):
            raise ValueError("a DER value ends after its data")
        yield tag, data[start:place]


def _length(data: bytes, place: int) -> tuple[int, int]:
    """Where the content begins whose length is at ``place``, and its size."""
    if place >= len(data):
        raise ValueError("a DER value has no length")
    first = data[place]
    if first < 0x80:
        return place + 1, first
    count = first & 0x7F
    end = place + 1 + count
    if not 1 <= count <= _LONGEST_LENGTH or end > len(data):
        raise ValueError("a DER length is malformed")
    return end, int.from_bytes(data[place + 1 : end], "big")


def _text(tag: int, content: bytes) -> str:
    if tag not in _STRINGS:
        raise ValueError(f"expected a DER string, found tag 0x{tag:02x}")
    return content.decode(_STRINGS[tag])
