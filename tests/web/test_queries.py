"""Names and options in a page's address."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imaginator.model.errors import InvalidRequest
from imaginator.web.pages import link
from imaginator.web.queries import parse_query


@given(st.text())
def test_a_linked_name_comes_back(name: str) -> None:
    """Whatever a name holds, a link to it asks for exactly that name."""
    name = name.encode("utf-8", "ignore").decode()

    assert name == parse_query(b"/showImage?" + link(name).encode("ascii")).name


@given(st.binary())
def test_any_bytes_are_a_query(junk: bytes) -> None:
    """No request line makes the parser fail."""
    parse_query(b"/?" + junk)


def test_options_follow_the_name() -> None:
    """The name ends at the first ampersand; options are bare or have a value."""
    query = parse_query(b"/showBuildLog?base/Debian-12/c++&follow&offset=512&compress=a%26b")

    assert "base/Debian-12/c++" == query.name
    assert query.follow
    assert 512 == query.offset
    assert "a&b" == query.options["compress"]


def test_no_query_is_an_empty_name() -> None:
    """Without a question mark there is neither name nor option."""
    assert ("", {}) == parse_query(b"/showBuildLog")


@pytest.mark.parametrize("offset", ["-1", "1.5", "", "x", "1" * 19, "%D9%A3"])
def test_an_offset_is_a_whole_number(offset: str) -> None:
    """An offset of anything but ASCII digits, or of absurdly many, is refused."""
    with pytest.raises(InvalidRequest, match="expected a number of bytes"):
        _ = parse_query(f"/showBuildLog?x&offset={offset}".encode()).offset
