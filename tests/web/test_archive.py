"""The archive of builds: searched by a form, and by the original's addresses."""

from __future__ import annotations

import re

import pytest

from imaginator.model.build import BuildFailure, BuildRequest
from imaginator.web.build_pages import MOST_BUILDS
from tests.support.fake_builder import FakeBuilder
from tests.support.visitor import Visitor

HOSTILE = '"><script>alert(1)</script>'


def history() -> FakeBuilder:
    """Three builds: a good one, one that failed, and one that is queued."""
    builder = FakeBuilder({"a/b": [], "a/c": []})
    good = builder.add(BuildRequest(stream_name="a/b"), requester="alice", age=30)
    builder.start(good.build_id, log=b"made well\n")
    failed = builder.add(BuildRequest(stream_name="a/c"), requester="imaginator", age=20)
    builder.start(failed.build_id, log=b"Unable to locate package\n")
    builder.fail(failed.build_id, BuildFailure(-32005, "build-failed", "exit status 100"))
    builder.add(BuildRequest(stream_name="a/b"), requester="alice", age=10)
    return builder


def shown(page: str) -> list[str]:
    """The streams of the builds that a page lists."""
    return re.findall(r'<td class="title"><a class="name" href="/showImageStream\?[^"]*">([^<]*)</a>', page)


@pytest.mark.parametrize(
    ("path", "streams"),
    [
        ("/showBuildLogArchive", ["a/b", "a/c", "a/b"]),
        ("/showBuildLogArchive?stream=a/c&requester=&result=&text=", ["a/c"]),
        ("/showBuildLogArchive?requester=alice", ["a/b", "a/b"]),
        ("/showBuildLogArchive?result=failed", ["a/c"]),
        ("/showBuildLogArchive?result=unfinished", ["a/b", "a/b"]),
        ("/showBuildLogArchive?text=Unable+to", ["a/c"]),
        ("/showBuildLogArchive?text=Unable&stream=a/b", []),
        ("/showAllBuilds", ["a/b", "a/c", "a/b"]),
        ("/showGoodBuilds", []),
        ("/showErrorBuilds", ["a/c"]),
        ("/showStreamAllBuilds?a/b", ["a/b", "a/b"]),
        ("/showStreamErrorBuilds?a/c", ["a/c"]),
        ("/showStreamGoodBuilds?a/c", []),
        ("/showRequestorAllBuilds?imaginator", ["a/c"]),
        ("/showRequestorErrorBuilds?alice", []),
    ],
)
def test_what_is_found(path: str, streams: list[str]) -> None:
    """Newest first, by stream, requester, result and a text in the log."""
    answer = Visitor(history()).get(path)

    assert (200, streams) == (answer.status, shown(answer.text))


@pytest.mark.parametrize(
    ("path", "status"),
    [("/showBuildLogArchive?result=odd", 400), ("/showBuildLogArchive?after=x", 400), ("/showOddBuilds", 404)],
)
def test_what_cannot_be_found(path: str, status: int) -> None:
    """Wishes that make no sense are clear errors."""
    answer = Visitor(history()).get(path)

    assert status == answer.status


def test_older_ones() -> None:
    """A page has so many; the rest is one link away."""
    builder = FakeBuilder({"a/b": []})
    for number in range(MOST_BUILDS + 5):
        builder.add(BuildRequest(stream_name="a/b"), age=1000 - number)
    first = Visitor(builder).get("/showStreamAllBuilds?a/b").text
    (older,) = re.findall(r'href="(/showBuildLogArchive\?[^"]*)" rel="next"', first)
    second = Visitor(builder).get(older.replace("&amp;", "&")).text

    assert (MOST_BUILDS, 5) == (len(shown(first)), len(shown(second)))
    assert 'rel="next"' not in second


def test_hostile_words() -> None:
    """What was searched for comes back as text."""
    page = Visitor(history()).get(f"/showBuildLogArchive?text={HOSTILE}&requester={HOSTILE}").text

    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
