"""How values are written on pages, and that no secret is."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imaginator.web.pages import Pages, duration
from tests.support.fake_builder import START


def pages() -> Pages:
    """Pages at `START` with one secret."""
    return Pages(lambda text: text.replace('hunter2<"secret', "$PASSWORD"), lambda: START)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0 ms"),
        (0.04, "40 ms"),
        (9.94, "9.9 s"),
        (10, "10 s"),
        (59.6, "1 min"),
        (125, "2 min 5 s"),
        (3600, "1 h"),
        (5460, "1 h 31 min"),
        (90061, "1 d 1 h"),
    ],
)
def test_durations_have_two_units(seconds: float, text: str) -> None:
    """A length of time is written with its leading units."""
    assert text == duration(seconds)


@given(st.floats(0, 1e10))
def test_every_duration_can_be_written(seconds: float) -> None:
    """No length of time is left without text, or with more than two units."""
    assert 2 <= len(duration(seconds).split()) <= 4


def test_a_time_carries_its_exact_moment() -> None:
    """An age is shown, the moment stands in the markup for programs and in the title for people."""
    text = pages().when(START - timedelta(minutes=3, seconds=20))

    assert (
        '<time datetime="2026-11-22T23:34:45Z" title="Sunday 22 November 2026, 23:34:45 UTC" data-age>3 min ago</time>'
        == text
    )


def test_expiry_is_never_past_or_to_come() -> None:
    """An image that is pinned, has expired, or will, says so."""
    assert "never" == pages().until(None)
    assert ">expired<" in pages().until(START)
    assert ">in 1 h 30 min<" in pages().until(START + timedelta(minutes=90))


def test_secrets_are_replaced_before_escaping() -> None:
    """A secret with characters that HTML escapes is found all the same, and what is not secret is escaped."""
    page = pages().render(
        "error.html", status=404, sentence='<b> of hunter2<"secret', has_log=False, has_reference=False, started=START
    )

    assert b"&lt;b&gt; of $PASSWORD" in page
    assert b"hunter2" not in page
