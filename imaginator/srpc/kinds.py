"""Go's types, read off Python's annotations, so that a message is declared once::

    class DirectoryEntry(Message, frozen=True):
        name: str = ""
        inode_number: Uint = 0

A field's Go name is its own in capitals (``InodeNumber``) unless `msgspec.field` names another. ``list`` is a slice,
``dict`` a map, ``X | None`` a pointer, `Moment` a ``time.Time``. What Python cannot say is annotated: `Uint`, `Octets`
(an array of bytes), `Interface` (one of some registered types), and the name that Go gives a type (`Called`), which
only reads well in a stream.
"""

from __future__ import annotations

import types
from functools import cache
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin, get_type_hints

import msgspec

BOOL, INT, UINT, FLOAT, BYTES, STRING, COMPLEX, INTERFACE = range(1, 9)
"""The ids of the types that every stream has."""


WIDEST = 64
"""Bits of a number, where it is not said that there are fewer."""


class Message(msgspec.Struct, frozen=True, rename="pascal"):
    """What a Go struct is here; all fields have defaults, which stand for what is not sent."""


class Moment(NamedTuple):
    """A ``time.Time``: seconds and nanoseconds since 1970, and minutes east of Greenwich; None is UTC."""

    seconds: int = 0
    nanoseconds: int = 0
    offset: int | None = None


class Unsigned(NamedTuple):
    """Marks an unsigned number."""

    bits: int = WIDEST


class Signed(NamedTuple):
    """Marks a signed number that has fewer bits than 64."""

    bits: int


class Octets(NamedTuple):
    """Marks bytes that are an array of ``uint8`` of this length."""

    length: int


class Called(NamedTuple):
    """Marks a type that Go has a name for, or an unnamed one that it calls so as the type of a field."""

    name: str


class Pointed(NamedTuple):
    """Marks elements that are pointers."""


class Interface(NamedTuple):
    """Marks a value of one of some types, each with the name by which Go has registered it."""

    types: tuple[tuple[str, type[Message]], ...]


Uint = Annotated[int, Unsigned()]
Uint32 = Annotated[int, Unsigned(32)]
Int32 = Annotated[int, Signed(32)]


class Kind(NamedTuple):
    """A type; ``basic`` is its id where every stream has it.

    ``name`` is what a definition calls it; ``element`` is what an array, a slice or a map has, ``key`` a map's;
    ``length`` is an array's, ``message`` a struct's class; ``choices`` are an interface's types, by their names;
    ``pointed`` is an element that is a pointer; ``bits`` are a number's.
    """

    name: str = ""
    basic: int = 0
    element: Kind | None = None
    key: Kind | None = None
    length: int = -1
    message: type[Message] | None = None
    choices: tuple[tuple[str, type[Message]], ...] = ()
    moment: bool = False
    pointed: bool = False
    bits: int = WIDEST


class Field(NamedTuple):
    """A field of a struct: its Go name, Python's, its kind, and whether it is a pointer."""

    name: str
    attribute: str
    kind: Kind
    pointer: bool


def bounds(kind: Kind) -> tuple[int, int]:
    """The lowest number of a kind, and the first that is too high."""
    return (0, 1 << kind.bits) if kind.basic == UINT else (-(1 << kind.bits - 1), 1 << kind.bits - 1)


_BASIC = {
    bool: Kind("bool", BOOL),
    int: Kind("int", INT),
    float: Kind("float", FLOAT),
    bytes: Kind("bytes", BYTES),
    str: Kind("string", STRING),
}


@cache
def fields(message: type[Message]) -> tuple[Field, ...]:
    """The fields of a message, in Go's order, which is that of their declaration."""
    hints = get_type_hints(message, include_extras=True)
    return tuple(
        Field(field.encode_name, field.name, kind(hints[field.name]), _is_pointer(hints[field.name]))
        for field in msgspec.structs.fields(message)
    )


def _is_pointer(hint: Any) -> bool:
    return get_origin(hint) in {types.UnionType, Union}


@cache
def _of_class(hint: type) -> Kind:
    # Annotations cannot be keys: marks are tuples, of which those of different names may be equal.
    return _BASIC.get(hint) or _composed(hint)


def kind(hint: Any) -> Kind:
    """The kind of an annotation; raises TypeError for one that no Go type stands for."""
    if isinstance(hint, type):
        return _of_class(hint)
    marks: tuple[Any, ...] = ()
    if get_origin(hint) is Annotated:
        hint, *rest = get_args(hint)
        marks = tuple(rest)
    if _is_pointer(hint):
        (hint,) = (part for part in get_args(hint) if part is not type(None))
        return kind(hint)
    found = _plain(hint, marks)
    called = next((mark.name for mark in marks if isinstance(mark, Called)), found.name)
    return found._replace(name=called, pointed=any(isinstance(mark, Pointed) for mark in marks))


def _plain(hint: Any, marks: tuple[Any, ...]) -> Kind:
    for mark in marks:
        match mark:
            case Unsigned(bits):
                return Kind("uint", UINT, bits=bits)
            case Signed(bits):
                return Kind("int", INT, bits=bits)
            case Octets(length):
                return Kind(f"[{length}]uint8", element=Kind("uint", UINT), length=length)
            case Interface(choices):
                return Kind("interface", INTERFACE, choices=choices)
    return _BASIC.get(hint) or _composed(hint)


def _composed(hint: Any) -> Kind:
    arguments = [kind(argument) for argument in get_args(hint)]
    if get_origin(hint) is list:
        return Kind(f"[]{arguments[0].name}", element=arguments[0])
    if get_origin(hint) is dict:
        return Kind(f"map[{arguments[0].name}]{arguments[1].name}", element=arguments[1], key=arguments[0])
    if hint is Moment:
        return Kind("Time", moment=True)
    if isinstance(hint, type) and issubclass(hint, Message):
        return Kind(hint.__name__, message=hint)
    raise TypeError(f"no Go type stands for {hint!r}")
