"""Durations and sizes: what is written, what it means, what is shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imaginator.model.durations import format_duration, format_size, parse_duration, parse_share, parse_size


@given(st.integers(0, 999), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_a_duration_is_the_sum_of_its_parts(days: int, hours: int, minutes: int, seconds: int) -> None:
    """Each unit counts for its seconds."""
    expected = ((days * 24 + hours) * 60 + minutes) * 60 + seconds

    assert expected == parse_duration(f"{days}d{hours}h{minutes}m{seconds}s")


@given(st.integers(0, 10**8))
def test_a_shown_duration_is_near_what_it_shows(seconds: int) -> None:
    """Two units are kept, so that what is dropped is less than an hour in days, a minute in hours."""
    shown = parse_duration(format_duration(seconds))

    assert 0 <= seconds - shown < (3600 if seconds >= 86400 else 60 if seconds >= 3600 else 1)


@pytest.mark.parametrize("text", ["", "5", "1x", "1h 2m", "-1s", "h", "1.s", "9" * 400 + "d", "\u0663s"])
def test_what_is_no_duration_is_told(text: str) -> None:
    """The sentence repeats the text and shows what was expected."""
    with pytest.raises(ValueError, match="is no duration: expected something like 90s"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("100B", 100),
        ("100M", 100 << 20),
        ("2GiB", 2 << 30),
        ("5gb", 5 << 30),
        ("1.5K", 1536),
        ("1T", 1 << 40),
    ],
)
def test_sizes_are_powers_of_1024(text: str, expected: int) -> None:
    """With or without B or iB, in either case."""
    assert expected == parse_size(text)


@pytest.mark.parametrize("text", ["", "M", "1X", "-1", "100iB", "9" * 400])
def test_what_is_no_size_is_told(text: str) -> None:
    """The sentence repeats the text and shows what was expected."""
    with pytest.raises(ValueError, match="is no size: expected something like 100M"):
        parse_size(text)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "0s"), (0.04, "40ms"), (0.9999, "1s"), (2.5, "2.5s"), (59.99, "1m"), (5400, "1h30m"), (86430, "1d")],
)
def test_durations_for_people(seconds: float, expected: str) -> None:
    """Two units at most, none that is nought."""
    assert expected == format_duration(seconds)


def test_sizes_for_people() -> None:
    """Bytes are whole; larger units have one decimal."""
    assert [format_size(n) for n in (512, 1536, 5 << 40)] == ["512 B", "1.5 KiB", "5.0 TiB"]


@pytest.mark.parametrize(
    ("text", "expected"), [("20%", 200), ("0.5 %", 5), ("100%", 1000), ("0%", 0), ("0", 0), ("2K", 2048)]
)
def test_shares(text: str, expected: int) -> None:
    """A part of the whole, or a size whatever the whole."""
    assert expected == parse_share(text, 1000)


@pytest.mark.parametrize("text", ["", "%", "101%", "20 percent", "-1%", "1e3%"])
def test_no_shares(text: str) -> None:
    """What is neither says what was expected."""
    with pytest.raises(ValueError, match="is neither a size nor a share: expected something like 100G or 20%"):
        parse_share(text, 1000)
