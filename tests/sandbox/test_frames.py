"""What the daemon and the holder send each other."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from imaginator.sandbox.frames import Decoder, encode

VALUES = st.recursive(
    st.none() | st.integers() | st.binary() | st.text(), lambda inner: st.lists(inner) | st.tuples(inner, inner)
)


@given(st.lists(VALUES, max_size=5), st.integers(1, 7))
def test_values_survive_however_the_stream_is_cut(values: list[object], size: int) -> None:
    """What is encoded is decoded, in its order, from pieces of any size."""
    stream = b"".join(map(encode, values))
    decoder = Decoder()
    pieces = (stream[start : start + size] for start in range(0, len(stream), size))

    assert values == [value for piece in pieces for value in decoder.feed(piece)]
