"""Gob by itself: values there and back, what does not fit, and bytes that mean harm."""

from __future__ import annotations

import random
import tracemalloc
from pathlib import Path
from typing import Annotated, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imaginator.srpc import messages
from imaginator.srpc.decoding import NOTHING_YET, Decoder, Limits
from imaginator.srpc.definitions import ArrayType, CommonType, FieldType, SliceType, StructType, WireType
from imaginator.srpc.encoding import Encoder, writer
from imaginator.srpc.errors import BadGob
from imaginator.srpc.filesystem import INODES, FileSystem, RegularInode
from imaginator.srpc.kinds import (
    COMPLEX,
    INTERFACE,
    STRING,
    WIDEST,
    Field,
    Interface,
    Kind,
    Message,
    Moment,
    Octets,
    Uint,
    bounds,
    fields,
    kind,
)
from imaginator.srpc.numbers import Source, signed, unsigned

RECORDINGS = Path(__file__).with_name("recordings")
MIB = 1 << 20
TEXTS = st.text(st.characters(exclude_categories=()), max_size=20).map(
    lambda text: text.encode("utf-8", "replace").decode()
)


class Leaf(Message, frozen=True):
    """A message without messages."""

    number: int = 0
    text: str = ""


class Other(Message, frozen=True):
    """Another one of an interface."""

    ratio: float = 0.0


class Whole(Message, frozen=True):
    """One field of each sort."""

    yes: bool = False
    number: int = 0
    count: Uint = 0
    ratio: float = 0.0
    data: bytes = b""
    text: str = ""
    octets: Annotated[bytes, Octets(5)] = bytes(5)
    leaf: Leaf = Leaf()
    pointer: Leaf | None = None
    many: list[Leaf] = []
    lists: list[list[int]] = []
    table: dict[str, Uint] = {}
    when: Moment | None = None
    one_of: Annotated[Message, Interface((("*t.Leaf", Leaf), ("*t.Other", Other)))] | None = None
    several: dict[Uint, Annotated[Message, Interface((("*t.Leaf", Leaf), ("*t.Other", Other)))]] = {}


class Tree(Message, frozen=True):
    """Has itself as a part."""

    name: str = ""
    child: Tree | None = None


BASIC: dict[str, st.SearchStrategy[Any]] = {
    "bool": st.booleans(),
    "int": st.integers(-(1 << 63), (1 << 63) - 1),
    "uint": st.integers(0, (1 << 64) - 1),
    "float": st.floats(allow_nan=False),
    "bytes": st.binary(max_size=300),
    "string": TEXTS,
}
MOMENTS = st.builds(
    Moment, st.integers(-(1 << 40), 1 << 40), st.integers(0, 999_999_999), st.none() | st.integers(0, 14 * 60)
)


def values(of: Kind) -> st.SearchStrategy[Any]:
    """Values of a kind."""
    if of.message:
        return whole(of.message)
    if of.moment:
        return MOMENTS
    if of.basic == INTERFACE:
        return st.one_of([whole(message) for _, message in of.choices])
    if of.bits < WIDEST:
        low, high = bounds(of)
        return st.integers(low, high - 1)
    if of.basic:
        return BASIC[of.name]
    assert of.element is not None
    if of.length >= 0:
        return st.binary(min_size=of.length, max_size=of.length)
    if of.key:
        return st.dictionaries(values(of.key), values(of.element), max_size=3)
    return st.lists(values(of.element), max_size=3)


def optional(field: Field) -> st.SearchStrategy[Any]:
    """Values of a field."""
    found = values(field.kind)
    return st.none() | found if field.pointer else found


def whole(message: type[Message]) -> st.SearchStrategy[Message]:
    """Messages of a class."""
    return st.builds(message, **{field.attribute: optional(field) for field in fields(message)})


ALL = [
    one
    for one in vars(messages).values()
    if isinstance(one, type) and issubclass(one, Message) and one.__module__ == messages.__name__
]


@given(st.lists(whole(Whole), min_size=1, max_size=3), st.integers(1, 200))
def test_there_and_back(said: list[Whole], step: int) -> None:
    """Several values of one stream, in pieces of any length; a field that is not sent is as declared."""
    encoder, decoder = Encoder(), Decoder()
    stream = b"".join(encoder.encode(one) for one in said) + b"the rest"
    found: list[Whole] = []
    for start in range(0, len(stream), step):
        decoder.feed(stream[start : start + step])
        while len(found) < len(said) and (value := decoder.next(Whole)) is not NOTHING_YET:
            found.append(value)

    assert said == found
    assert b"the rest" == decoder.rest()


@settings(max_examples=200)
@given(st.sampled_from(ALL).flatmap(whole))
def test_every_message(said: Message) -> None:
    """What is said of it is what is understood."""
    decoder = Decoder()
    decoder.feed(Encoder().encode(said))

    assert said == decoder.next(type(said))


def test_a_type_within_itself() -> None:
    """To a depth, and no further."""
    tree = Tree("leaf")
    for _ in range(40):
        tree = Tree("node", tree)
    stream = Encoder().encode(tree)
    right, strict = Decoder(), Decoder(Limits(depth=40))
    right.feed(stream)
    strict.feed(stream)

    assert tree == right.next(Tree)
    with pytest.raises(BadGob, match="more than 40 levels"):
        strict.next(Tree)


def test_fields_come_and_go() -> None:
    """Fields that only the sender has are passed over, those that only the receiver has are as declared."""
    encoder, decoder = Encoder(), Decoder()
    leaf = Leaf(1, "one")
    said = Whole(number=7, many=[leaf], table={"a": 1}, when=Moment(1), one_of=leaf, several={1: leaf, 2: Other(1.5)})

    class Older(Message, frozen=True):
        number: int = 0
        added: str = "as declared"

    decoder.feed(encoder.encode(said) + encoder.encode(said))

    assert [Older(7)] * 2 == [decoder.next(Older), decoder.next(Older)]


@pytest.mark.parametrize("annotation", [bool, int, float, bytes, str, Uint, list[str], dict[str, int]])
def test_values_that_are_no_structs(annotation: Any) -> None:
    """They stand by themselves."""
    value = {bool: True, int: -5, float: 2.5, bytes: b"x", str: "y"}.get(annotation)
    if value is None:
        value = 7 if annotation is Uint else ["a", "b"] if annotation == list[str] else {"a": 1}
    decoder = Decoder()
    decoder.feed(Encoder().encode(value, annotation))

    assert value == decoder.next(annotation)


@given(st.integers(-(1 << 63), (1 << 63) - 1))
def test_numbers(number: int) -> None:
    """Every number of 64 bits."""
    data = signed(number) + unsigned(abs(number))
    source = Source(data, 0, len(data))

    assert (number, abs(number)) == (source.signed(), source.unsigned())


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (Whole(count=-1), "unsigned"),
        (Whole(count=1 << 64), "unsigned"),
        (Whole(number=1 << 63), "signed"),
        (Whole(octets=b"123"), "3 bytes for an array of 5"),
        (RegularInode(mode=1 << 40), "no number of 32 bits"),
        (RegularInode(mtime_nano_seconds=-(1 << 31) - 1), "no number of 32 bits"),
    ],
)
def test_what_go_cannot_hold(value: Message, error: str) -> None:
    """It is refused, not cut off."""
    with pytest.raises(ValueError, match=error):
        Encoder().encode(value)


def said_wrongly(data: bytes, hint: Any = messages.GetImageResponse) -> str:
    """Why bytes are refused."""
    decoder = Decoder()
    decoder.feed(data)
    with pytest.raises(BadGob) as refused:
        decoder.next(hint)
    return str(refused.value)


class Elsewhere(Message, frozen=True):
    """The fields of `Leaf`, of other types."""

    number: str = ""


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (unsigned(1 << 62), "a message of 4611686018427387904 bytes, at most"),
        (b"\xf0", "number of 16 bytes"),
        (b"\x02\xfe\xff", "2 bytes announced at 2, of which 1 are there"),
        (b"\x03\x50\x00\x00", "type 40 is not defined"),
        (b"\x02\x0c\x01", "a value that is no struct begins with 0"),
    ],
)
def test_defects(data: bytes, why: str) -> None:
    """Each is told in a sentence."""
    assert why in said_wrongly(data, str)


def test_other_types() -> None:
    """A number is not taken for a text, a map not for a list; the field is named."""
    assert "Number: a signed number was sent, expected string" in said_wrongly(Encoder().encode(Leaf(1)), Elsewhere)
    assert "expected" in said_wrongly(Encoder().encode(["x"], list[str]), dict[str, str])
    assert "a signed number was sent, expected Leaf" in said_wrongly(Encoder().encode(1, int), Leaf)


def test_unknown_choices() -> None:
    """An interface holds one of the types that are registered."""
    stream = Encoder().encode(Whole(one_of=Leaf(1, "x"))).replace(b"*t.Leaf", b"*t.Evil")

    assert "'*t.Evil', expected *t.Leaf or *t.Other" in said_wrongly(stream, Whole)


def recorded() -> bytes:
    """A whole image."""
    return (RECORDINGS / "getimage-tiny.s2c.bin").read_bytes().partition(b"SRPC\n\n\n\n")[2]


def test_bits_that_flip() -> None:
    """Any damage ends in a value, a refusal, or the wait for more; never in anything else."""
    chance = random.Random(1)
    stream = recorded()
    outcomes: dict[str, int] = {}
    for _ in range(1500):
        damaged = bytearray(stream)
        for _ in range(chance.randint(1, 3)):
            damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        decoder = Decoder()
        decoder.feed(bytes(damaged))
        try:
            outcome = "waits" if decoder.next(messages.GetImageResponse) is NOTHING_YET else "value"
        except BadGob:
            outcome = "refused"
        outcomes[outcome] = outcomes.get(outcome, 0) + 1

    assert outcomes["refused"] > 100
    assert {*outcomes} == {"refused", "value", "waits"}


def test_every_length_of_it() -> None:
    """A stream that is cut off anywhere is waited for."""
    stream = recorded()
    for length in range(len(stream)):
        decoder = Decoder()
        decoder.feed(stream[:length])

        assert decoder.next(messages.GetImageResponse) is NOTHING_YET


def counted(count: int, of: Any) -> bytes:
    """A message that announces so many elements of a list or map, and has none."""
    stream = bytearray(Encoder().encode(["x"] if of == list[str] else {"x": 1}, of))
    # The last message: its length, its type (two bytes), 0, a count of 1.
    start = len(stream) - (6 if of == list[str] else 7)
    body = bytes(stream[start + 1 : start + 4]) + unsigned(count)
    return bytes(stream[:start]) + unsigned(len(body)) + body


@pytest.mark.parametrize("of", [list[str], dict[str, int]])
@pytest.mark.parametrize("count", [1 << 40, (1 << 63) - 1, 1 << 63, (1 << 64) - 1])
def test_counts_are_not_believed(of: Any, count: int) -> None:
    """However much is announced, memory is for what is there."""
    tracemalloc.start()
    said_wrongly(counted(count, of), of)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert most < MIB


def definition(number: int, wire: WireType) -> bytes:
    """A message that defines a type."""
    buffer = bytearray(signed(-number))
    writer(kind(WireType))(Encoder(), buffer, wire, bytearray())
    return unsigned(len(buffer)) + bytes(buffer)


def struct_of(number: int, *parts: int) -> bytes:
    """The definition of a struct with fields of these types, which nobody knows."""
    found = [FieldType(f"Unknown{place}", part) for place, part in enumerate(parts)]
    return definition(number, WireType(struct_t=StructType(CommonType("S", number), found)))


def message(*parts: bytes) -> bytes:
    """A message of some bytes."""
    return unsigned(sum(map(len, parts))) + b"".join(parts)


def test_unknown_fields_of_any_type() -> None:
    """Complex numbers and arrays of texts are passed over as well."""
    array = definition(65, WireType(array_t=ArrayType(CommonType("", 65), STRING, 2)))
    value = message(signed(64), b"\x01\x05\x06", b"\x01\x02\x01a\x01b", b"\x00")
    decoder = Decoder()
    decoder.feed(struct_of(64, COMPLEX, 65) + array + value)

    assert Leaf() == decoder.next(Leaf)


def test_slices_within_themselves() -> None:
    """However deep an unknown field is, it ends at a limit of ours, not at the interpreter's."""
    slices = definition(65, WireType(slice_t=SliceType(CommonType("", 65), 65)))
    deep = message(signed(64), b"\x01", b"\x01" * 5000, b"\x00\x00")

    assert "more than 64 levels" in said_wrongly(struct_of(64, 65) + slices + deep, Leaf)


def test_definitions_are_read_once() -> None:
    """They are done with before the value comes, so that a stream in small pieces costs no more than a whole one."""
    decoder = Decoder()
    decoder.feed(struct_of(64, STRING))

    assert decoder.next(Leaf) is NOTHING_YET
    assert b"" == decoder.rest()


def test_many_empty_elements() -> None:
    """A few bytes do not become many objects."""
    decoder = Decoder(Limits(elements=1000))
    decoder.feed(Encoder().encode(Whole(many=[Leaf()] * 1001)))

    with pytest.raises(BadGob, match="more than 1000 elements"):
        decoder.next(Whole)


class Wide(Message, frozen=True):
    """What `RegularInode` begins with, of more bits."""

    mode: Uint = 0


def test_numbers_that_are_too_wide() -> None:
    """A number has no more bits than its type."""
    assert "1099511627776 is no number of 32 bits" in said_wrongly(Encoder().encode(Wide(1 << 40)), RegularInode)


def test_endless_definitions() -> None:
    """A stream that only defines types ends at a limit."""
    decoder = Decoder(Limits(types=50))

    class Chain(Message, frozen=True):
        pass

    for number in range(51):
        body = signed(-(64 + number)) + bytes.fromhex("03 01 02") + signed(64 + number) + bytes((0, 0, 0))
        decoder.feed(unsigned(len(body)) + body)

    with pytest.raises(BadGob, match="more than 50 types"):
        decoder.next(Chain)


def test_endless_values() -> None:
    """One that is never whole is given up at a limit, before it has come."""
    decoder = Decoder(Limits(message=MIB, value=2 * MIB))
    decoder.feed(unsigned(3 * MIB))

    with pytest.raises(BadGob, match="a message of 3145728 bytes"):
        decoder.next(Leaf)


def test_what_no_go_type_stands_for() -> None:
    """An annotation that is none is found when it is used."""
    with pytest.raises(TypeError, match="no Go type"):
        kind(set)


def test_every_inode_is_known() -> None:
    """The table of a tree can hold each."""
    tree = FileSystem(inode_table={number: one() for number, one in enumerate(INODES, 1)})
    decoder = Decoder()
    decoder.feed(Encoder().encode(tree))

    assert tree == decoder.next(FileSystem)
