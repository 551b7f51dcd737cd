"""Build logs as pages show them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imaginator.model.marks import Mark, Marks
from imaginator.web.loglines import Line, Part, clock_text, log_lines, timed


@pytest.mark.parametrize(
    ("data", "parts"),
    [
        (b"plain", [("", "plain")]),
        (b"\x1b[31mred\x1b[0m plain", [("", ""), ("c1", "red"), ("", " plain")]),
        (b"\x1b[1;92mboth\x1b[39mbold\x1b[22mnone", [("", ""), ("c2 bold", "both"), ("bold", "bold"), ("", "none")]),
        (b"\x1b[mx\x1b[38;5;1234my\x1b[99999999mz", [("", ""), ("", "x"), ("", "y"), ("", "z")]),
        (b"10%\r20%\r", [("", "20%")]),
        (b"a\x1b[2Kb\x1b]0;title\x07c\x08d", [("", "abcd")]),
        (b"<b>\xff", [("", "<b>\ufffd")]),
    ],
)
def test_one_line(data: bytes, parts: list[tuple[str, str]]) -> None:
    """Colours and bold are kept, all else that is no text goes."""
    (line,) = log_lines(data, 1)

    assert parts == [tuple(part) for part in line.parts]


def test_lines() -> None:
    """They are numbered; a colour goes on over them; what the build says itself is told apart."""
    assert [
        Line(7, True, 0, (Part("", "=== fetch"),)),
        Line(8, False, 10, (Part("", ""), Part("c2", "one"))),
        Line(9, False, 19, (Part("c2", "two"),)),
    ] == list(log_lines(b"=== fetch\n\x1b[32mone\ntwo\n", 7))
    assert [] == list(log_lines(b"", 1))


def test_times() -> None:
    """Lines have the time since their step began, steps the one since the log did; what is the same is told once."""
    lines = list(log_lines(b"a\n=== fetch\nb\nc\n\xffd\n=== fetch: 3.0s\n=== pack\ne\n", 1))
    marks = Marks([Mark(102, 5000, 5000), Mark(114, 5700, 5000), Mark(119, 8000, 5000), Mark(135, 8000, 8000)])
    times = [time for _, time in timed(lines, 100, marks)]

    assert ["", "5.0 s", "0.0 s", "0.7 s", "", "8.0 s", "8.0 s", "0.0 s"] == times


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [(0, "0.0 s"), (9940, "9.9 s"), (9960, "10 s"), (59_400, "59 s"), (59_600, "1:00"), (3_723_000, "1:02:03")],
)
def test_time_of_a_column(milliseconds: int, text: str) -> None:
    """It is short."""
    assert text == clock_text(milliseconds)


@given(st.binary())
def test_any_bytes(data: bytes) -> None:
    """No control character is left, and there are as many lines as there were."""
    lines = list(log_lines(data, 1))
    text = "".join(part.text for line in lines for part in line.parts)

    assert all(letter == "\t" or letter >= " " for letter in text)
    assert len(lines) == len(data.removesuffix(b"\n").split(b"\n")) if data.removesuffix(b"\n") else lines == []
