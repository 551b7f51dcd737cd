"""Values as gob, byte by byte what Go's encoder makes of them; one `Encoder` a stream, which says each type once."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import cache
from typing import Any

from imaginator.srpc.definitions import Registry, WireType, identity, parts
from imaginator.srpc.kinds import (
    BOOL,
    BYTES,
    FLOAT,
    INT,
    INTERFACE,
    STRING,
    UINT,
    WIDEST,
    Field,
    Kind,
    Message,
    Moment,
    bounds,
    fields,
)
from imaginator.srpc.kinds import kind as kind_of
from imaginator.srpc.numbers import float_bytes, signed, unsigned

UTC = -1
"""What a time has in place of minutes east of Greenwich, where it is in UTC."""

YEAR_ONE = 62135596800
"""Seconds from the year 1, whence Go counts, to 1970."""

_OCTETS = [unsigned(number) for number in range(256)]
_TIME = struct.Struct(">BqIh")
_TIME_VERSION = 1

Write = Callable[["Encoder", bytearray, Any, bytearray], None]
"""Adds a value to a buffer; definitions of what is not known yet go out before it, with what the buffer has so far."""


class Encoder:
    """The encoder of one stream; types have the ids of ``registry``, which all streams of a Go program share."""

    def __init__(self, registry: Registry | None = None) -> None:
        self._registry = registry or Registry()
        self._sent: set[Any] = set()

    def encode(self, value: object, hint: Any = None) -> bytes:
        """The messages that say a value; ``hint`` is its annotation where it is no `Message`.

        Raises ValueError for a number that Go's type cannot hold, TypeError for what is not of its type.
        """
        kind = kind_of(type(value) if hint is None else hint)
        out, buffer = bytearray(), bytearray()
        self.define(kind, buffer, out)
        buffer += signed(self._registry.id_of(kind))
        if kind.message is None:
            buffer.append(0)
        writer(kind)(self, buffer, value, out)
        _flush(buffer, out)
        return bytes(out)

    def define(self, kind: Kind, buffer: bytearray, out: bytearray) -> None:
        """Send the definition of a type and of its parts, unless they were sent."""
        if kind.basic or identity(kind) in self._sent:
            return
        self._sent.add(identity(kind))
        number = self._registry.id_of(kind)
        buffer += signed(-number)
        _write_struct(WireType)(self, buffer, self._registry.definitions[number], out)
        _flush(buffer, out)
        for part in parts(kind):
            self.define(part, buffer, out)

    def id_of(self, kind: Kind) -> int:
        """The id of a type that was defined."""
        return self._registry.id_of(kind)


def _flush(buffer: bytearray, out: bytearray) -> None:
    out += unsigned(len(buffer))
    out += buffer
    buffer.clear()


def writer(kind: Kind) -> Write:
    """What writes values of a kind."""
    if kind.message:
        return _write_struct(kind.message)
    if kind.moment:
        return _write_moment
    if kind.basic == INTERFACE:
        return _interface(kind)
    if kind.basic:
        return _SCALARS[kind.basic] if kind.bits == WIDEST else _narrow(kind)
    if kind.key:
        return _map(kind.key, kind.element)
    return _octets(kind.length) if kind.length >= 0 else _slice(kind.element)


@cache
def _write_struct(message: type[Message]) -> Write:
    plan: list[tuple[int, str, bool, Write]] = []

    def write(encoder: Encoder, buffer: bytearray, value: Any, out: bytearray) -> None:
        if not plan:
            plan.extend(_planned(number, field) for number, field in enumerate(fields(message), 1))
        last = 0
        for number, attribute, always, add in plan:
            item = getattr(value, attribute)
            if always or item:
                buffer.append(number - last)
                last = number
                add(encoder, buffer, item, out)
        buffer.append(0)

    return write


def _planned(number: int, field: Field) -> tuple[int, str, bool, Write]:
    always = not field.pointer and bool(field.kind.message or field.kind.length >= 0)
    return number, field.attribute, always, writer(field.kind)


def _interface(kind: Kind) -> Write:
    names = {message: (name, kind_of(message)) for name, message in kind.choices}

    def write(encoder: Encoder, buffer: bytearray, value: Any, out: bytearray) -> None:
        if value is None:
            buffer.append(0)
            return
        name, concrete = names[type(value)]
        _write_text(encoder, buffer, name, out)
        encoder.define(concrete, buffer, out)
        buffer += signed(encoder.id_of(concrete))
        data = bytearray()
        writer(concrete)(encoder, data, value, buffer)
        _flush(data, buffer)

    return write


def _map(key: Kind, element: Kind | None) -> Write:
    assert element is not None
    write_key, write_element = writer(key), writer(element)

    def write(encoder: Encoder, buffer: bytearray, value: dict[Any, Any], out: bytearray) -> None:
        buffer += unsigned(len(value))
        for name, item in value.items():
            write_key(encoder, buffer, name, out)
            write_element(encoder, buffer, item, out)

    return write


def _slice(element: Kind | None) -> Write:
    assert element is not None
    add = writer(element)

    def write(encoder: Encoder, buffer: bytearray, value: list[Any], out: bytearray) -> None:
        buffer += unsigned(len(value))
        for item in value:
            add(encoder, buffer, item, out)

    return write


def _octets(length: int) -> Write:
    def write(_encoder: Encoder, buffer: bytearray, value: bytes, _out: bytearray) -> None:
        if len(value) != length:
            raise ValueError(f"{len(value)} bytes for an array of {length}")
        buffer += unsigned(length)
        buffer += b"".join(map(_OCTETS.__getitem__, value))

    return write


def _write_moment(_encoder: Encoder, buffer: bytearray, value: Moment, _out: bytearray) -> None:
    offset = UTC if value.offset is None else value.offset
    data = _TIME.pack(_TIME_VERSION, value.seconds + YEAR_ONE, value.nanoseconds, offset)
    buffer += unsigned(len(data))
    buffer += data


def _write_text(_encoder: Encoder, buffer: bytearray, value: str, _out: bytearray) -> None:
    data = value.encode("utf-8", "surrogateescape")
    buffer += unsigned(len(data))
    buffer += data


def _write_bytes(_encoder: Encoder, buffer: bytearray, value: bytes, _out: bytearray) -> None:
    buffer += unsigned(len(value))
    buffer += value


def _narrow(kind: Kind) -> Write:
    make = unsigned if kind.basic == UINT else signed
    low, high = bounds(kind)

    def write(_encoder: Encoder, buffer: bytearray, value: int, _out: bytearray) -> None:
        if not low <= value < high:
            raise ValueError(f"{value} is no number of {kind.bits} bits")
        buffer += make(value)

    return write


def _number(make: Callable[[Any], bytes]) -> Write:
    def write(_encoder: Encoder, buffer: bytearray, value: Any, _out: bytearray) -> None:
        buffer += make(value)

    return write


_SCALARS: dict[int, Write] = {
    BOOL: _number(unsigned),
    INT: _number(signed),
    UINT: _number(unsigned),
    FLOAT: _number(float_bytes),
    BYTES: _write_bytes,
    STRING: _write_text,
}
