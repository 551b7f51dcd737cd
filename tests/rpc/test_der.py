"""The DER form of certificate extensions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imaginator.rpc.der import decode_strings, encode_strings


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))))
def test_round_trip(strings: list[str]) -> None:
    """What was encoded is decoded, however long and in whatever script."""
    assert tuple(strings) == decode_strings(encode_strings(strings))


def test_long_lengths() -> None:
    """Contents of 128 bytes and more have a length of several bytes."""
    strings = ("x" * 127, "y" * 128, "z" * 70_000)

    assert strings == decode_strings(encode_strings(strings))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x30",
        b"\x0c\x01a",
        b"\x30\x05\x0c\x01a",
        b"\x30\x03\x02\x01\x07",
        b"\x30\x80\x00\x00",
        b"\x30\x85\x00\x00\x00\x00\x01a",
        b"\x30\x03\x0c\x01\xff",
        b"\x30\x00\x30\x00",
    ],
    ids=["empty", "no length", "no sequence", "short", "integer", "indefinite", "long length", "not UTF-8", "two"],
)
def test_malformed(data: bytes) -> None:
    """Anything but a sequence of strings is refused."""
    with pytest.raises(ValueError, match=r"."):
        decode_strings(data)


@given(st.binary(max_size=64))
def test_noise(data: bytes) -> None:
    """Whatever the bytes, the answer is strings or a ValueError."""
    try:
        strings = decode_strings(data)
    except ValueError:
        return
    assert strings == decode_strings(encode_strings(strings))
