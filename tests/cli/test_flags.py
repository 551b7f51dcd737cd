"""The original's flags, on the command line and in files."""

from __future__ import annotations

from pathlib import Path

import pytest

from imaginator.cli.flags import Spelling, modernise, read_flags
from imaginator.cli.main import builder_tool

SPELLING = Spelling(builder_tool)


@pytest.mark.parametrize(
    ("original", "modern"),
    [
        ("-imaginatorHostname=x list-images", "--imaginator-hostname=x list-images"),
        ("-imaginatorHostname x list-images", "--imaginator-hostname x list-images"),
        ("--imaginatorPortNum=1 list-images", "--imaginator-port=1 list-images"),
        ("-expiresIn=2h -maxSourceAge 1d build-image s", "build-image --expires-in=2h --max-source-age 1d s"),
        ("-alwaysShowBuildLog build-image s master", "build-image --always-show-build-log s master"),
        ("-alwaysShowBuildLog=true build-image s", "build-image --always-show-build-log s"),
        ("-alwaysShowBuildLog=false build-image s", "build-image s"),
        ("build-image -expiresIn=2h s", "build-image --expires-in=2h s"),
        ("--json list-images", "list-images --json"),
        ("get-image -o root.tar s", "get-image -o root.tar s"),
        ("get-image -oroot s", "get-image -oroot s"),
        ("build-image -- -expiresIn=2h", "build-image -- -expiresIn=2h"),
        ("-h", "-h"),
        ("--nonsense list-images", "--nonsense list-images"),
        ("", ""),
    ],
)
def test_command_line(original: str, modern: str) -> None:
    """The original's spelling and order become ours; everything else stays."""
    warnings: list[str] = []

    assert modern.split() == modernise(original.split(), SPELLING, warnings.append)
    assert [] == warnings


def test_dropped_flags() -> None:
    """Flags of what no longer exists are ignored with a warning."""
    warnings: list[str] = []

    assert ["build-image", "s"] == modernise(["-slaveDriverPort=1", "build-image", "s"], SPELLING, warnings.append)
    assert ["--slave-driver-port is ignored: builds need no slaves any more"] == warnings


def test_files(tmp_path: Path) -> None:
    """A later file overrides an earlier one; comments and blank lines are skipped, unknown names are told."""
    system, own = tmp_path / "system", tmp_path / "own"
    for folder, name, text in (
        (system, "flags.default", "# a comment\n; another\n\nimaginatorHostname=one\nexpiresIn = 2h\n"),
        (system, "flags.extra", "imaginator-port=7000\nbogus=1\n"),
        (own, "flags.default", "imaginatorHostname=two\n"),
    ):
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    warnings: list[str] = []

    expected = {"imaginator_hostname": "two", "expires_in": "2h", "imaginator_port": "7000"}
    assert expected == read_flags([system, own, tmp_path / "none"], SPELLING, warnings.append)
    assert [f"{system}/flags.extra, line 2: --bogus is ignored: there is no such flag"] == warnings
