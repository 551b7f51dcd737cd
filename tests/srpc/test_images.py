"""What is said of an image, over the wire and back."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from imaginator.model.image import Annotation, Annotations, Image, Origin, Owners, Package, Trigger
from imaginator.model.tree import Entry, Inode, Kind
from imaginator.srpc.decoding import Decoder
from imaginator.srpc.encoding import Encoder
from imaginator.srpc.filesystem import Image as WireImage
from imaginator.srpc.images import image_from_wire, image_to_wire, moment, time_of
from imaginator.srpc.kinds import Moment

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
LINES = st.lists(TEXT, max_size=3).map(tuple)
TIMES = st.datetimes(timezones=st.just(UTC))
NOTES = st.none() | st.builds(Annotation, st.sampled_from([b"", bytes(range(64))]), TEXT)
IMAGES = st.builds(
    Image,
    name=st.just("a/b"),
    root=st.just(Entry(b"", Inode(Kind.DIRECTORY, 0o755))),
    created_at=TIMES,
    expires_at=st.none() | TIMES,
    filter=st.none() | LINES,
    triggers=st.none()
    | st.lists(st.builds(Trigger, LINES, TEXT, TEXT, st.booleans(), st.booleans(), st.booleans()), max_size=2).map(
        tuple
    ),
    tags=st.dictionaries(TEXT, TEXT, max_size=2),
    owners=st.builds(Owners, LINES, LINES),
    packages=st.lists(st.builds(Package, TEXT, TEXT, st.integers(0, 1 << 40)), max_size=2).map(tuple),
    origin=st.builds(Origin, source_image=TEXT, git_url=TEXT, git_branch=TEXT, git_commit_id=TEXT, created_for=TEXT),
)


@given(IMAGES)
def test_there_and_back(image: Image) -> None:
    """In gob as well: no filter is no empty one, and no triggers are not none of them."""
    decoder = Decoder()
    decoder.feed(Encoder().encode(image_to_wire(image, None)))
    received = decoder.next(WireImage)

    assert image == image_from_wire("a/b", received)


def test_what_the_wire_does_not_know() -> None:
    """The build's id and figures stay here; its log goes as an object."""
    image = Image(name="a/b", root=Entry(b"", Inode(Kind.DIRECTORY, 0o755)), created_at=datetime.now(UTC))
    full = replace(image, origin=Origin(build_id="X"), packager_type="deb")

    sent = image_to_wire(full, None, bytes(64))

    assert replace(image, annotations=Annotations(build_log=Annotation(bytes(64)))) == image_from_wire("a/b", sent)
    assert sent.build_log is not None
    assert bytes(64) == sent.build_log.object


@pytest.mark.parametrize(
    ("there", "here"),
    [
        (Moment(0, 999_999_999), datetime(1970, 1, 1, 0, 0, 0, 999_999, UTC)),
        (Moment(-1), datetime(1969, 12, 31, 23, 59, 59, 0, UTC)),
        (Moment(1 << 62), datetime(9999, 12, 31, tzinfo=UTC)),
        (Moment(-(1 << 62)), datetime(1, 1, 1, tzinfo=UTC)),
        (Moment(0, 0, 90), datetime(1970, 1, 1, tzinfo=UTC)),
    ],
)
def test_times(there: Moment, here: datetime) -> None:
    """To the microsecond; beyond Python's years is as far as they go."""
    assert here == time_of(there)
    if here.year in (1969, 1970):
        assert moment(here).seconds == there.seconds
