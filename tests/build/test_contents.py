"""The content of a plain directory has one name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from imaginator.build.contents import content_of


def fill(directory: Path) -> Path:
    """A manifest."""
    (directory / "files" / "etc").mkdir(parents=True)
    (directory / "manifest").write_text("{}")
    (directory / "files" / "etc" / "motd").write_text("hello")
    (directory / "files" / "link").symlink_to("etc")
    return directory


def link_elsewhere(link: Path) -> None:
    """Let a link lead to another place."""
    link.unlink()
    link.symlink_to("var")


CHANGES: dict[str, Callable[[Path], object]] = {
    "a content": lambda top: (top / "files/etc/motd").write_text("hallo"),
    "a mode": lambda top: (top / "files/etc/motd").chmod(0o755),
    "a name": lambda top: (top / "files/etc/motd").rename(top / "files/etc/other"),
    "an empty directory": lambda top: (top / "tests").mkdir(),
    "where a link leads": lambda top: link_elsewhere(top / "files/link"),
    "a hidden file": lambda top: (top / ".hidden").touch(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_differs_is_noticed(tmp_path: Path, change: str) -> None:
    """Times and places do not."""
    one, other = fill(tmp_path / "one"), fill(tmp_path / "deeper" / "other")
    assert content_of(one) == content_of(other)

    CHANGES[change](one)
    assert content_of(one) != content_of(other)
