"""Reading values of the types that a stream has defined: a reader for each, made once.

Nothing is believed: a length is a number until its bytes are there, and whatever is built grows with what is read.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

from imaginator.srpc.definitions import FIRST_ID, Registry, StructType, WireType
from imaginator.srpc.encoding import UTC, YEAR_ONE
from imaginator.srpc.errors import BadGob
from imaginator.srpc.kinds import (
    BOOL,
    BYTES,
    COMPLEX,
    FLOAT,
    INT,
    INTERFACE,
    STRING,
    UINT,
    WIDEST,
    Field,
    Kind,
    Moment,
    bounds,
    fields,
)
from imaginator.srpc.kinds import kind as kind_of
from imaginator.srpc.numbers import Source

MEBIBYTE = 1 << 20


class Limits(NamedTuple):
    """How much one stream may say: bytes of a message and of a value, types, and levels and elements of a value.

    An image of 100,000 inodes has some 15 MiB and half a million elements.
    """

    message: int = 64 * MEBIBYTE
    value: int = 64 * MEBIBYTE
    types: int = 1_000
    depth: int = 64
    elements: int = 2_000_000


Read = Callable[[Source], Any]

_MOST_OCTETS = 4096
_TIMES = {1: struct.Struct(">BqIh"), 2: struct.Struct(">BqIhb")}


class Readers:
    """The types of one stream, and what reads them; ``next_message`` goes on where a value is in several messages."""

    def __init__(self, limits: Limits, next_message: Callable[[Source], None]) -> None:
        self._limits = limits
        self._next_message = next_message
        self._types: dict[int, WireType] = {}
        self._readers: dict[tuple[int, Kind | None], Read] = {}

    def define(self, source: Source, number: int) -> None:
        """Read the definition of a type; raises `BadGob` for one that makes no sense, or one too many."""
        definition = _WIRE_TYPE(source)
        source.definitions += 1
        if number in self._types or number < FIRST_ID:
            raise BadGob(f"type {number} is defined again")
        if len(self._types) >= self._limits.types:
            raise BadGob(f"more than {self._limits.types} types")
        if sum(part is not None for part in _parts(definition)) != 1:
            raise BadGob(f"type {number} is of no sort, or of several")
        self._types[number] = definition

    @property
    def count(self) -> int:
        """How many types are known."""
        return len(self._types)

    def forget(self, count: int) -> None:
        """Forget all types but the first so many."""
        if count < len(self._types):
            self._types = dict(list(self._types.items())[:count])
            self._readers.clear()

    def reader(self, number: int, kind: Kind | None) -> Read:
        """What reads values of the stream's type with a number as a kind; None passes over them. Raises `BadGob`."""
        key = (number, kind)
        if key not in self._readers:
            # Types may have themselves as parts.
            self._readers[key] = lambda source: self._readers[key](source)
            self._readers[key] = self._make_reader(number, kind)
        return self._readers[key]

    def _make_reader(self, number: int, kind: Kind | None) -> Read:
        if number == INTERFACE:
            return self._interface(_expect(kind, kind is None or kind.basic == INTERFACE, "an interface"))
        if number in _SCALARS:
            name, read = _SCALARS[number]
            _expect(kind, kind is None or kind.basic == number, name)
            return _of_width(read, kind) if kind and kind.bits < WIDEST else read
        return self._of_definition(number, kind)

    def _of_definition(self, number: int, kind: Kind | None) -> Read:
        definition = self._types.get(number)
        if definition is None:
            raise BadGob(f"type {number} is not defined")
        if definition.struct_t is not None:
            return self._struct(
                definition.struct_t, _expect(kind, kind is None or kind.message is not None, "a struct")
            )
        if definition.map_t is not None:
            found = _expect(kind, kind is None or kind.key is not None, "a map")
            return self._map(definition.map_t.key, definition.map_t.elem, found)
        if definition.slice_t is not None:
            right = kind is None or (kind.element is not None and kind.key is None and kind.length < 0)
            return self._slice(definition.slice_t.elem, _expect(kind, right, "a slice"))
        if definition.array_t is not None and kind is None:
            return self._slice(definition.array_t.elem, None)
        if definition.array_t is not None:
            length = definition.array_t.len
            right = kind is None or kind.length == length
            return self._array(definition.array_t.elem, length, _expect(kind, right, f"an array of {length}"))
        _expect(kind, kind is None or kind.moment, "a value that makes its own bytes")
        return _moment if kind else _pass_over

    def _struct(self, wire: StructType, kind: Kind | None) -> Read:
        known = {field.name: field for field in fields(kind.message)} if kind and kind.message else {}
        plan = [self._field(known.get(field.name), field.id) for field in wire.field]
        make = kind.message if kind else None

        def read(source: Source) -> Any:
            values: dict[str, Any] = {}
            number = -1
            while step := source.unsigned():
                number += step
                if number >= len(plan):
                    raise BadGob(f"field {number} of a struct of {len(plan)}")
                attribute, reader = plan[number]
                value = reader(source)
                if attribute:
                    values[attribute] = value
            return make(**values) if make else None

        return self._within(read)

    def _within(self, read: Read) -> Read:
        """What reads a value that has others in it."""
        deepest = self._limits.depth

        def nested(source: Source) -> Any:
            if source.depth == deepest:
                raise BadGob(f"a value of more than {deepest} levels")
            source.depth += 1
            value = read(source)
            source.depth -= 1
            return value

        return nested

    def _count(self, source: Source) -> int:
        """How many elements follow."""
        count = source.unsigned()
        source.elements += count
        if source.elements > self._limits.elements:
            raise BadGob(f"a value of more than {self._limits.elements} elements")
        return count

    def _field(self, field: Field | None, number: int) -> tuple[str, Read]:
        if field is None:
            return "", lambda source: self.reader(number, None)(source)
        kind = field.kind
        try:
            return field.attribute, self.reader(number, kind)
        except BadGob as error:
            raise BadGob(f"{field.name}: {error}") from None

    def _interface(self, kind: Kind | None) -> Read:
        choices = {name: kind_of(message) for name, message in kind.choices} if kind else {}

        def read(source: Source) -> Any:
            name = source.text()
            if not name:
                return None
            if kind and name not in choices:
                raise BadGob(f"an interface holds {name[:100]!r}, expected {' or '.join(choices)}")
            number = self._type_within(source)
            end = source.unsigned() + source.position
            known = source.definitions
            value = self.reader(number, choices.get(name))(source)
            # A definition within it has ended the piece whose length was told.
            if source.position != end and source.definitions == known:
                raise BadGob(f"{name} ends at {source.position}, expected at {end}")
            return value

        return self._within(read)

    def _type_within(self, source: Source) -> int:
        """The id of a type within a value, after definitions that come before it.

        Each ends the message, or has the length of what follows behind it.
        """
        while (number := source.signed()) < 0:
            self.define(source, -number)
            if source.position == source.end:
                self._next_message(source)
            else:
                source.unsigned()
        return number

    def _map(self, key: int, element: int, kind: Kind | None) -> Read:
        read_key = self.reader(key, kind and kind.key)
        read_element = self.reader(element, kind and kind.element)

        def read(source: Source) -> Any:
            values = {}
            for _ in range(self._count(source)):
                name, value = read_key(source), read_element(source)
                if kind:
                    values[name] = value
            return values

        return self._within(read)

    def _slice(self, element: int, kind: Kind | None) -> Read:
        read_element = self.reader(element, kind and kind.element)

        def read(source: Source) -> Any:
            values = []
            for _ in range(self._count(source)):
                value = read_element(source)
                if kind:
                    values.append(value)
            return values

        return self._within(read)

    def _array(self, element: int, length: int, kind: Kind | None) -> Read:
        if element != UINT or length > _MOST_OCTETS:
            raise BadGob(f"an array of {length} of type {element}; arrays of up to {_MOST_OCTETS} bytes are known")
        pattern = re.compile(rb"(?:[\x00-\x7f]|\xff[\x80-\xff]){%d}" % length)

        def read(source: Source) -> Any:
            if source.unsigned() != length:
                raise BadGob(f"an array of another length than {length}")
            found = pattern.match(source.data, source.position, source.end)
            if found is None:
                raise BadGob(f"no {length} bytes at {source.position}")
            source.position = found.end()
            # Each byte above 127 has one of 255 before it, and so has 255 itself.
            return b"\xff".join(part.replace(b"\xff", b"") for part in found[0].split(b"\xff\xff"))

        return read


def _expect(kind: Kind | None, right: bool, what: str) -> Kind | None:
    if not right:
        raise BadGob(f"{what} was sent, expected {kind.name if kind else ''}")
    return kind


def _parts(definition: WireType) -> list[Any]:
    return [getattr(definition, field.attribute) for field in fields(WireType)]


def _moment(source: Source) -> Moment | None:
    data = source.take(source.unsigned())
    layout = _TIMES.get(data[0] if data else 0)
    if layout is None or layout.size != len(data):
        raise BadGob(f"a time of {len(data)} bytes")
    _, seconds, nanoseconds, minutes, *_ = layout.unpack(data)
    return Moment(seconds - YEAR_ONE, nanoseconds, None if minutes == UTC else minutes)


def _pass_over(source: Source) -> None:
    source.take(source.unsigned())


def _of_width(read: Read, kind: Kind) -> Read:
    """What reads a number that has fewer than 64 bits."""
    low, high = bounds(kind)

    def within(source: Source) -> int:
        number = int(read(source))
        if not low <= number < high:
            raise BadGob(f"{number} is no number of {kind.bits} bits")
        return number

    return within


def _complex(source: Source) -> tuple[float, float]:
    return source.float(), source.float()


def _boolean(source: Source) -> bool:
    return bool(source.unsigned())


_SCALARS: dict[int, tuple[str, Read]] = {
    BOOL: ("a boolean", _boolean),
    INT: ("a signed number", Source.signed),
    UINT: ("an unsigned number", Source.unsigned),
    FLOAT: ("a floating-point number", Source.float),
    BYTES: ("bytes", lambda source: source.take(source.unsigned())),
    STRING: ("a string", Source.text),
    COMPLEX: ("a complex number", _complex),
}


def _wire_type_reader() -> Read:
    """What reads definitions, whose own every decoder knows."""
    registry = Registry()
    readers = Readers(Limits(), lambda _: None)
    number = registry.id_of(kind_of(WireType))
    readers._types.update(registry.definitions)
    return readers.reader(number, kind_of(WireType))


_WIRE_TYPE = _wire_type_reader()
