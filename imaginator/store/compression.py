"""Archives compressed with zstd, the same bytes for the same archive and version of the library."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing

from zstandard import ZstdCompressor

LEVEL = 3
"""Zstandard's own choice: some 300 MB a second of one processor, a third of a system's size."""


def zstd_blocks(blocks: Generator[bytes]) -> Generator[bytes]:
    """What ``blocks`` make, compressed into one frame with a checksum; for a worker thread, since it computes.

    It keeps no more than the library's window, some megabytes. Closing it closes ``blocks``.
    """
    # More threads would save nobody time: the tar is made by one, and a build wants the processors.
    compressor = ZstdCompressor(level=LEVEL, write_checksum=True).compressobj()
    with closing(blocks):
        for block in blocks:
            if compressed := compressor.compress(block):
                yield compressed
        yield compressor.flush()
