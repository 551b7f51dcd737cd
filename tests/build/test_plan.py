"""What a packager would install, read and compared."""

from __future__ import annotations

import pytest

from imaginator.build.survey import deviations, parse_plan
from imaginator.model.errors import BuildFailed
from imaginator.model.image import Image, Package
from imaginator.model.tree import Entry, Inode, Kind
from tests.support.fake_builder import START

IMAGE = Image(
    name="web",
    root=Entry(b"", Inode(Kind.DIRECTORY, 0o755)),
    created_at=START,
    packages=(Package("curl", "7.88.1-10"), Package("libc6", "2.36")),
)


@pytest.mark.parametrize(
    ("output", "told"),
    [
        (b"", []),
        (b"curl 7.88.1-10\n", []),
        (b"curl 7.88.1-11\n", ["curl 7.88.1-10 → 7.88.1-11"]),
        (b"libc6:i386 2.36\nlibc6 2.36\n", []),
        (b"curl 0:7.88.1-10\nlibc6 1:2.36\n", ["libc6 2.36 → 1:2.36"]),
        (b"less 1.0\n", ["less - → 1.0"]),
        (b"curl -\nless -\n", ["curl 7.88.1-10 → -"]),
    ],
)
def test_what_would_differ(output: bytes, told: list[str]) -> None:
    """Versions by name, whatever the architecture; a package that would go and is not there is none."""
    assert told == deviations(parse_plan(output), IMAGE)


@pytest.mark.parametrize("line", [b"curl", b"curl 7 8", b"E: no such package"])
def test_nonsense_is_refused(line: bytes) -> None:
    """The sentence shows the line."""
    with pytest.raises(BuildFailed, match="expected a name and a version"):
        parse_plan(b"less 1.0\n" + line + b"\n")
