"""Pages that many look at are made when something changes, and not sent to those who have them."""

from __future__ import annotations

import pytest

from imaginator.model.build import BuildRequest
from imaginator.web.cached import LONGEST
from tests.support.fake_builder import FakeBuilder
from tests.support.visitor import Visitor

PAGES = pytest.mark.parametrize("path", ["/", "/showImageStreams"])


@PAGES
def test_made_once(path: str) -> None:
    """While nothing changes it is the same page; a change shows at once, and so does time after a while."""
    builder = FakeBuilder({"a/b": []})
    builder.unchanging = "as it was"
    visitor = Visitor(builder)
    first = visitor.get(path)
    builder.builders["a/c"] = []
    same = visitor.get(path)
    visitor.clock.advance(LONGEST)
    later = visitor.get(path)
    builder.builders["a/d"] = []
    builder.unchanging = "something new"
    changed = visitor.get(path)

    assert first.text == same.text
    assert 3 == len({first.text, later.text, changed.text})
    assert (200, "no-cache") == (first.status, first.header("Cache-Control"))


@PAGES
def test_known_already(path: str) -> None:
    """Who has the page is told that it is still that; who has another one gets it."""
    builder = FakeBuilder({"a/b": []})
    builder.unchanging = "as it was"
    visitor = Visitor(builder)
    tag = visitor.get(path).header("ETag")
    same, other = visitor.get(path, If_None_Match=tag), visitor.get(path, If_None_Match='"other"')

    assert (304, "") == (same.status, same.text)
    assert (200, True) == (other.status, "</html>" in other.text)


def test_progress() -> None:
    """A running build's bar is fed by how long the last good one took."""
    builder = FakeBuilder({"a/b": []})
    record = builder.add(BuildRequest(stream_name="a/b"), age=42)
    builder.start(record.build_id)
    page = Visitor(builder).get("/").text

    assert '<progress max="100.0" value="40.0"' in page
