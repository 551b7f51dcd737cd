"""The bytes of files, with their holes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imaginator.sandbox.contents import HOLE, SPARSE_FROM, copy_content, data_ranges, filled_ranges, write_content

BLOCKS = st.lists(
    st.sampled_from([bytes(HOLE), b"x" * HOLE, bytes(HOLE - 1) + b"x", b"x" + bytes(HOLE - 1)]), max_size=9
)


def occupied(path: Path) -> int:
    """Bytes that a file takes on the disk."""
    return path.stat().st_blocks * 512


@given(BLOCKS, st.binary(max_size=5))
def test_what_is_not_a_hole_is_filled(blocks: list[bytes], end: bytes) -> None:
    """The ranges hold every byte that is not zero, in order; what they leave out are whole blocks of zeros."""
    data = b"".join(blocks) + end
    rebuilt = bytearray(len(data))
    last = 0
    for start, stop in filled_ranges(data):
        assert last <= start < stop
        rebuilt[start:stop] = data[start:stop]
        last = stop

    assert data == rebuilt
    assert blocks.count(bytes(HOLE)) * HOLE == len(data) - sum(stop - start for start, stop in filled_ranges(data))


def test_zeros_are_written_as_holes_and_copied_as_such(tmp_path: Path) -> None:
    """A file of mostly zeros takes a few blocks, before and after copying, and has the same bytes."""
    data = b"start" + bytes(40 * HOLE) + b"end" + bytes(20 * HOLE)
    descriptor = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    write_content(descriptor, data)
    os.ftruncate(descriptor, len(data))
    os.close(descriptor)
    copy_content(os.fsencode(tmp_path / "file"), os.fsencode(tmp_path / "copy"))

    for name in ("file", "copy"):
        assert data == (tmp_path / name).read_bytes()
        assert occupied(tmp_path / name) <= 4 * HOLE


def test_a_file_that_is_one_hole_has_no_data(tmp_path: Path) -> None:
    """Its ranges are none; a copy has its size."""
    with (tmp_path / "file").open("wb") as file:
        file.truncate(1 << 40)
    with (tmp_path / "file").open("rb") as file:
        assert [] == list(data_ranges(file.fileno()))
    copy_content(os.fsencode(tmp_path / "file"), os.fsencode(tmp_path / "copy"))

    assert 1 << 40 == (tmp_path / "copy").stat().st_size
    assert 0 == occupied(tmp_path / "copy")


@pytest.mark.parametrize("size", [0, 1, SPARSE_FROM - 1, SPARSE_FROM + 1])
def test_content_survives_whatever_its_size(tmp_path: Path, size: int) -> None:
    """Around the size from which holes are looked for."""
    (tmp_path / "file").write_bytes(bytes(size))
    copy_content(os.fsencode(tmp_path / "file"), os.fsencode(tmp_path / "copy"))

    assert bytes(size) == (tmp_path / "copy").read_bytes()
