"""Names of streams, images and builds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from imaginator.model.errors import InvalidRequest
from imaginator.model.names import check_build_id, check_image_name, check_stream_name, image_name, new_build_id

NOW = datetime(2026, 11, 22, 23, 38, 5, tzinfo=UTC)


@pytest.mark.parametrize("name", ["a", "base/Debian-12/amd64", "a/b.c_d+e:f@g~h-i", "x" * 255])
def test_good_stream_names(name: str) -> None:
    """Parts of letters, digits and a few marks."""
    assert name == check_stream_name(name)


@pytest.mark.parametrize("name", ["", "/a", "a/", "a//b", "../a", "a/.b", "-a", "a b", "a\n", "é", "x" * 256])
def test_bad_stream_names(name: str) -> None:
    """No way up, no empty or hidden part, no control characters."""
    with pytest.raises(InvalidRequest, match="stream name"):
        check_stream_name(name)


def test_image_names_never_repeat() -> None:
    """In UTC; a second image within a second, or after a clock that went back, is stamped a second later."""
    first = image_name("a/b", NOW, None)

    assert first == "a/b/2026-11-22:23:38:05"
    assert image_name("a/b", NOW, first) == "a/b/2026-11-22:23:38:06"
    assert image_name("a/b", NOW - timedelta(days=1), first) == "a/b/2026-11-22:23:38:06"
    assert image_name("a/b", NOW.astimezone(timezone(timedelta(hours=5))), None) == first
    assert check_image_name(first) == first
    with pytest.raises(InvalidRequest, match="expected STREAM/"):
        check_image_name("a/b")


def test_build_ids_sort_by_time() -> None:
    """A build submitted later has a greater id."""
    first, later = new_build_id(NOW), new_build_id(NOW + timedelta(milliseconds=1))

    assert first < later
    assert check_build_id(first) == first
    with pytest.raises(InvalidRequest, match="ULID"):
        check_build_id("8" * 26)
