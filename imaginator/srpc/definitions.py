"""What a stream says of its types before it says values of them: gob's own ``wireType``, and the ids that types get.

Ids begin with 64. As Go has it, a struct gets its own before its fields do, every other type after its parts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from imaginator.srpc.kinds import Kind, Message, fields

FIRST_ID = 64


class CommonType(Message, frozen=True):
    """What every definition begins with."""

    name: str = ""
    id: int = 0


class ArrayType(Message, frozen=True):
    """An array of ``len`` elements."""

    common_type: CommonType = CommonType()
    elem: int = 0
    len: int = 0


class SliceType(Message, frozen=True):
    """A slice."""

    common_type: CommonType = CommonType()
    elem: int = 0


class FieldType(Message, frozen=True):
    """A field of a struct."""

    name: str = ""
    id: int = 0


class StructType(Message, frozen=True):
    """A struct."""

    common_type: CommonType = CommonType()
    field: list[FieldType] = []


class MapType(Message, frozen=True):
    """A map."""

    common_type: CommonType = CommonType()
    key: int = 0
    elem: int = 0


class EncodedType(Message, frozen=True):
    """A type that makes its own bytes."""

    common_type: CommonType = CommonType()


class WireType(Message, frozen=True):
    """A definition: one of these."""

    array_t: ArrayType | None = None
    slice_t: SliceType | None = None
    struct_t: StructType | None = None
    map_t: MapType | None = None
    gob_encoder_t: EncodedType | None = None
    binary_marshaler_t: EncodedType | None = None
    text_marshaler_t: EncodedType | None = None


def identity(kind: Kind) -> Any:
    """What two kinds share that are one type: unnamed ones are one where their parts are."""
    if kind.message or kind.basic:
        return kind.message or kind.basic
    name = kind.name if kind.name.isidentifier() else ""
    return (name, kind.element and identity(kind.element), kind.key and identity(kind.key), kind.length)


class Registry:
    """The types of a stream: their ids, and their definitions by id."""

    def __init__(self) -> None:
        self._ids: dict[Any, int] = {}
        self.definitions: dict[int, WireType] = {}

    def id_of(self, kind: Kind, name: str | None = None) -> int:
        """The id of a type, which gets one if it has none; ``name`` is what it is called where it is met first."""
        if kind.basic:
            return kind.basic
        found = self._ids.get(identity(kind))
        return found or self._define(kind, kind.name if name is None else name)

    def _define(self, kind: Kind, name: str) -> int:
        if kind.message:
            return self._define_struct(kind, name)
        key = kind.key and self.id_of(kind.key, element_name(kind.key))
        element = kind.element and self.id_of(kind.element, element_name(kind.element))
        number = self._next(kind)
        common = CommonType(name=name, id=number)
        if kind.moment:
            definition = WireType(gob_encoder_t=EncodedType(common_type=common))
        elif key is not None:
            definition = WireType(map_t=MapType(common_type=common, key=key, elem=element or 0))
        elif kind.length >= 0:
            definition = WireType(array_t=ArrayType(common_type=common, elem=element or 0, len=kind.length))
        else:
            definition = WireType(slice_t=SliceType(common_type=common, elem=element or 0))
        self.definitions[number] = definition
        return number

    def _define_struct(self, kind: Kind, name: str) -> int:
        assert kind.message is not None
        number = self._next(kind)
        found = [FieldType(name=field.name, id=self.id_of(field.kind)) for field in fields(kind.message)]
        common = CommonType(name=name, id=number)
        self.definitions[number] = WireType(struct_t=StructType(common_type=common, field=found))
        return number

    def _next(self, kind: Kind) -> int:
        number = self._ids[identity(kind)] = FIRST_ID + len(self._ids)
        return number


def element_name(kind: Kind) -> str:
    """What a type is called that is met first as an element: pointers and unnamed types are called nothing."""
    return kind.name if not kind.pointed and kind.name.isidentifier() else ""


def parts(kind: Kind) -> Iterator[Kind]:
    """The types that a definition speaks of, in the order in which they are sent."""
    if kind.message:
        yield from (field.kind for field in fields(kind.message))
    yield from (part for part in (kind.key, kind.element) if part is not None)
