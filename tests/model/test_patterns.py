"""Many regular expressions at once say what each of them says alone."""

from __future__ import annotations

import random

import re2
from hypothesis import given
from hypothesis import strategies as st

from imaginator.model.patterns import Patterns

EXPRESSIONS = ("a", "a|ab", "[ab]+", "(?i)AB", "a.*", "b?$", "^ab", "a$|b", "", ".{3}")
GREEDY = [f"(.*a.{{40}}){{3}}b{number}" for number in range(200)]
"""Together more than RE2 will compile."""
HUNGRY = [".*a.{14}", *(f".*{letter}.{{13}}" for letter in "bcdefgh")]
"""A search for these at once has a state for every history of the text."""


@given(st.lists(st.sampled_from(EXPRESSIONS), unique=True), st.text("ab\n", max_size=4))
def test_all_that_match_the_whole_text(expressions: list[str], text: str) -> None:
    """In their order, and no others."""
    alone = [one for one in expressions if re2.fullmatch(one.encode(), text.encode())]

    assert alone == Patterns(expressions, "p").matching(text)


def test_more_than_can_be_compiled_together() -> None:
    """Each is tried by itself then."""
    text = "a" * 200 + "b7"

    assert [GREEDY[7]] == Patterns(GREEDY, "p").matching(text)


def test_a_text_that_takes_more_states_than_there_is_memory_for() -> None:
    """What is found is what each finds alone."""
    text = "".join(random.Random(1).choices("abcdefgh", k=20_000)) + "a" + "h" * 14
    alone = [one for one in HUNGRY if re2.fullmatch(one.encode(), text.encode())]

    assert HUNGRY[0] in alone
    assert alone == Patterns(HUNGRY, "p").matching(text)
