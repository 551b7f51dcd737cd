"""Images as values."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from imaginator.model.image import Image, Package, Trigger, decode_image, encode_image
from imaginator.model.tree import Entry, Inode, Kind


@pytest.mark.parametrize("lines", [None, (), ("/tmp/.*",)])
def test_an_image_survives_its_encoding(lines: tuple[str, ...] | None) -> None:
    """No filter stays none and an empty one stays empty; paths are bytes."""
    image = Image(
        name="a/2026-11-22:23:38:05",
        root=Entry(b"", Inode(Kind.DIRECTORY, 0o755), b"node"),
        created_at=datetime(2026, 11, 22, tzinfo=UTC),
        filter=lines,
        triggers=(Trigger(("/etc",), "ssh"),),
        packages=(Package("vim", "9"),),
        links=((b"/a\xff", b"/b"),),
    )

    assert image == decode_image(encode_image(image))
