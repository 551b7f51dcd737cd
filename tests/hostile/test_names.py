"""Every name that people and programs give, with every way in which one has led somewhere else."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from imaginator.model.errors import ImaginatorError
from imaginator.model.giturl import check_branch
from imaginator.model.names import check_build_id, check_image_name, check_stream_name
from tests.hostile.verdict import REFUSED, outcome

STAMP = "2026-11-22:23:38:05"
ENTRIES: dict[str, tuple[Callable[[str], object], str]] = {
    "stream": (check_stream_name, "{}"),
    "stream within": (check_stream_name, "base/{}/amd64"),
    "stream of an image": (check_image_name, "{}/" + STAMP),
    "stamp of an image": (check_image_name, "base/web/{}"),
    "build": (check_build_id, "{}"),
    "branch": (lambda name: check_branch(name, "u"), "{}"),
}
DEFECTS = {
    "nothing": "",
    "parent": "..",
    "parent within": "a/../b",
    "this": ".",
    "hidden": ".git",
    "absolute": "/etc/passwd",
    "two slashes": "a//b",
    "slash at the end": "a/",
    "backslash": "a\\b",
    "NUL": "a\0b",
    "line break": "a\nb",
    "line break at the end": "a\n",
    "carriage return": "a\rb",
    "escape sequence": "\x1b[2Ja",
    "blank": "a b",
    "option": "--upload-pack=x",
    "half a surrogate pair": "\ud800",
    "not normalised": "e\u0301",
    "letters that look alike": "\u0430bc",
    "digits of another script": "\u0661\u0662",
    "right to left": "\u202ea",
    "markup": "<script>alert(1)</script>",
    "shell": "$(reboot)",
    "glob": "a*",
    "4,096 characters": "a" * 4096,
    "a megabyte": "a" * (1 << 20),
    "4,096 parts": "a/" * 4095 + "a",
}


@pytest.mark.parametrize("defect", DEFECTS)
@pytest.mark.parametrize("entry", ENTRIES)
def test_name(entry: str, defect: str) -> None:
    """It is refused with one short line."""
    check, form = ENTRIES[entry]

    value, _ = outcome(lambda: check(form.format(DEFECTS[defect])))

    allowed = {("branch", "nothing"), ("branch", "markup"), ("branch", "not normalised"), ("branch", "shell")}
    allowed |= {("branch", name) for name in ("letters that look alike", "digits of another script", "right to left")}
    assert value is REFUSED or (entry, defect) in allowed


@pytest.mark.parametrize(
    "stamp", ["2026-1-2:3:4:5", "2026-11-22:23:38:5", "2026-02-30:00:00:00", f" {STAMP}", "02026-11-22:23:38:05"]
)
def test_a_stamp_is_written_in_one_way(stamp: str) -> None:
    """Two names of one image would be two images."""
    with pytest.raises(ImaginatorError):
        check_image_name(f"base/web/{stamp}")
