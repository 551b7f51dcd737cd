"""Random input, made from good input: no parser raises what it should not. ``make fuzz`` is guided and takes longer."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.hostile.parsers import PARSERS

SNIPPETS = [b"\0", b"\xff", b'"', b"{", b"[", b"$", b"%", b"\n", b"\xed\xa0\x80", b"\xe2\x80\xa8", b"/../", b"9" * 40]


def spoiled(seed: bytes) -> st.SearchStrategy[bytes]:
    """``seed`` with pieces cut out and pieces put in."""
    change = st.tuples(st.integers(0, len(seed)), st.integers(0, 8), st.sampled_from(SNIPPETS) | st.binary(max_size=4))

    def apply(changes: list[tuple[int, int, bytes]]) -> bytes:
        data = seed
        for at, length, piece in changes:
            data = data[:at] + piece + data[at + length :]
        return data

    return st.lists(change, max_size=6).map(apply)


@pytest.mark.parametrize("name", PARSERS)
def test_no_surprise(name: str) -> None:
    """Neither for any bytes nor for a good text that is slightly spoiled."""
    parser = PARSERS[name]

    @given(st.one_of(st.binary(max_size=60), *map(spoiled, parser.seeds)))
    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    def parse(data: bytes) -> None:
        parser(data)

    parse()


@pytest.mark.parametrize("name", PARSERS)
def test_seeds_are_good(name: str) -> None:
    """What fuzzing begins with gets deep into the parser."""
    for seed in PARSERS[name].seeds:
        PARSERS[name].work(seed)
