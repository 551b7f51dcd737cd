"""Variables: expansion against a plain reference, a stream's own, and the file of secrets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imaginator.model.errors import ConfigurationError, InvalidRequest
from imaginator.model.variables import (
    check_request_variables,
    check_without_secrets,
    expand,
    parse_variables_file,
    stream_variables,
)

VARIABLES = {"A": "one", "NAME_2": "a/b/c", "EMPTY": ""}


def plain_expand(text: str) -> str:
    """What `expand` does without sub-expressions, a character at a time."""
    done, at = "", 0
    while at < len(text):
        rest = text[at + 1 :]
        if text[at] != "$" or not rest:
            done, at = done + text[at], at + 1
        elif rest[0] == "{":
            name, closed, _ = rest[1:].partition("}")
            done += VARIABLES.get(name, "") if closed else name
            at += 2 + len(name) + len(closed)
        elif rest[0] in "*#$@!?-" or rest[0] in "0123456789":
            at += 2
        else:
            length = 0
            while length < len(rest) and rest[length] in "AEMNPTY_2" and (length or rest[length] != "2"):
                length += 1
            done += VARIABLES.get(rest[:length], "") if length else "$"
            at += 1 + length
    return done


@given(st.text(alphabet="$${}AEMNPTY_2/|()*? ", max_size=40))
def test_expansion_equals_the_plain_reference(text: str) -> None:
    """Every text without sub-expressions expands as the reference says."""
    assert plain_expand(text) == expand(text, VARIABLES)


@given(st.lists(st.text("abc", min_size=1), min_size=1), st.integers(-9, 9), st.integers(-9, 9))
def test_slices_choose_parts(parts: list[str], start: int, end: int) -> None:
    """A sub-expression joins the parts from start up to end; numbers that choose none give nothing."""
    first, last = (number + len(parts) if number < 0 else number for number in (start, end))
    expected = "/".join(parts[first:last]) if 0 <= first <= last < len(parts) else ""

    assert expected == expand(f"${{X[/{start}:{end}]}}", {"X": "/".join(parts)})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${NAME_2[/1:]}", "b/c"),
        ("${NAME_2[/:1]}", "a"),
        ("${NAME_2[/1:-1]}", "b"),
        ("${NAME_2[/0:3]}", ""),
        ("${NAME_2[/1]}", ""),
        ("${NAME_2[/x:1]}", ""),
        ("${NAME_2[/0:" + "9" * 5000 + "]}", ""),
        ("${EMPTY[/0:]}", ""),
        ("$NAME_2[/1:]", "a/b/c[/1:]"),
        ("(|/.*)$", "(|/.*)$"),
        ("$$x$1y$-", "xy"),
        ("${A", "A"),
    ],
)
def test_corners_of_expansion(text: str, expected: str) -> None:
    """The corners that the original's configurations rely on."""
    assert expected == expand(text, VARIABLES)


def test_built_in_variables_win_over_a_streams_own() -> None:
    """Own variables see the stream's name, and cannot replace the built-in ones."""
    variables = stream_variables("a/b/c", "amd64", {"LEAF": "${IMAGE_STREAM[/2:]}", "ARCH": "x", "NONE": "$ARCH"})

    assert {
        "ARCH": "amd64",
        "IMAGE_STREAM": "a/b/c",
        "IMAGE_STREAM_DIRECTORY_NAME": "a/b",
        "IMAGE_STREAM_LEAF_NAME": "c",
        "LEAF": "c",
        "NONE": "",
    } == variables


def test_a_stream_of_one_part_lies_in_the_directory_dot() -> None:
    """The directory name of a one-part stream is a dot."""
    assert stream_variables("one", "amd64", {})["IMAGE_STREAM_DIRECTORY_NAME"] == "."


def test_variables_file_in_both_forms() -> None:
    """Lines with comments and blank ones, or one JSON object."""
    assert parse_variables_file(b"# secret\n\nTOKEN=a=b\n X= y\n", "vars") == {"TOKEN": "a=b", "X": " y"}
    assert parse_variables_file(b' {"TOKEN": "a"}', "vars") == {"TOKEN": "a"}


@pytest.mark.parametrize("data", [b"A=1\nhunter2secret\n", b"A=1\n1X=hunter2secret", b"A=1\nX=\xffhunter2secret"])
def test_a_wrong_line_is_named_by_its_number_only(data: bytes) -> None:
    """What stands in the line may be a secret, so the error does not repeat it."""
    with pytest.raises(ConfigurationError, match="vars: line 2: ") as caught:
        parse_variables_file(data, "vars")

    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({"": "x"}, "variable ''"),
        ({"1A": "x"}, "variable '1A'"),
        ({"A=B": "x"}, "variable 'A=B'"),
        ({"A\n": "x"}, "expected a name"),
        ({"Ä": "x"}, "expected a name"),
        ({"A": "x\0y"}, "variable A: its value holds a NUL"),
        ({"A": "\ud800"}, "half a character"),
        ({f"A{number}": "" for number in range(201)}, "201 variables: at most 200"),
        ({"A": "x" * (64 << 10)}, "bytes of variables: at most"),
    ],
)
def test_a_requests_variables_can_be_an_environment(variables: dict[str, str], problem: str) -> None:
    """Names, values, their number and size have limits, which the error tells."""
    check_request_variables({"GOOD_1": "any value\n", "_x": ""})
    with pytest.raises(InvalidRequest, match=problem):
        check_request_variables(variables)


@pytest.mark.parametrize("text", ["$TOKEN", "a${TOKEN}b", "${TOKEN[/1:]}", "$OTHER$TOKEN"])
def test_a_secret_used_elsewhere_is_an_error_that_names_the_field(text: str) -> None:
    """Whatever the form of its use; other names, and what only looks like it, are fine."""
    check_without_secrets([("SourceImage", "$TOKENS ${OTHER} TOKEN ${TOKEN")], {"TOKEN": "secret"}, "here")
    with pytest.raises(ConfigurationError, match=r"^here: SourceImage: \$TOKEN is a secret"):
        check_without_secrets([("SourceImage", text)], {"TOKEN": "secret"}, "here")


@pytest.mark.parametrize("data", [b'{"A B": "hunter2"}', b'{"": "hunter2"}', b"A=" + b"hunter2" * 1000])
def test_a_secret_that_cannot_be_one(data: bytes) -> None:
    """A strange name or a value longer than any URL, told without the value."""
    with pytest.raises(ConfigurationError) as caught:
        parse_variables_file(data, "vars")

    assert "hunter2" not in str(caught.value)
