"""check-manifest and check-config: everything that is wrong, without a daemon and without root."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from imaginator.cli.main import builder_tool

ROOT = Path(__file__).parents[2]
SAMPLES = sorted([*(ROOT / "etc").glob("*.json"), *(ROOT / "etc/samples").rglob("*.json")])


def run(*words: str | Path) -> Result:
    """The command's output and exit status."""
    return CliRunner().invoke(builder_tool, list(map(str, words)))


def test_a_manifest_without_a_fault() -> None:
    """The demonstration's: nothing on standard output, exit status 0."""
    result = run("check-manifest", ROOT / "demo/manifests/hello")

    assert (0, "", "0 errors, 0 warnings\n") == (result.exit_code, result.stdout, result.stderr)


def test_everything_that_is_wrong_with_a_manifest(tmp_path: Path) -> None:
    """A line for each, with file, line and column; exit status 1."""
    (tmp_path / "manifest").write_text('{\n  "FilterLines": ["["]\n}')
    (tmp_path / "package-list").write_text("-y")
    (tmp_path / "filter").write_text("/a\n(")

    result = run("check-manifest", tmp_path)

    assert [
        f"{tmp_path}/manifest:1:1: error: $: missing required field SourceImage",
        f"{tmp_path}/filter:2: error: '(' is no regular expression: missing ): (",
        f"{tmp_path}/package-list:1: warning: '-y' is taken for an option by most packagers: expected the name of a"
        " package",
    ] == result.stdout.splitlines()
    assert (1, "2 errors, 1 warning\n") == (result.exit_code, result.stderr)


def test_problems_for_programs(tmp_path: Path) -> None:
    """An array of objects, empty where all is well."""
    (tmp_path / "manifest").write_text('{"SourceImage": 1}')

    result = run("check-manifest", "--json", tmp_path)

    assert [
        {
            "Severity": "error", "Where": f"{tmp_path}/manifest", "Line": 1, "Column": 17, "Field": "$.SourceImage",
            "Problem": "expected a string, got a number",
        }
    ] == json.loads(result.stdout)  # fmt: skip
    assert [] == json.loads(run("check-manifest", "--json", ROOT / "demo/manifests/hello").stdout)


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_the_shipped_samples(path: Path) -> None:
    """Nothing is wrong with them, nor doubtful."""
    result = run("check-config", path)

    assert (0, "") == (result.exit_code, result.stdout)


def test_the_streams_that_a_main_configuration_names_are_checked_too(tmp_path: Path) -> None:
    """And whether the two agree."""
    main, streams = tmp_path / "conf.json", tmp_path / "streams.json"
    main.write_text(
        json.dumps(
            {
                "ImageStreamsUrl": f"file://{streams}",
                "ImageStreamsToAutoRebuild": ["web", "none", "base"],
                "BootstrapStreams": {"base": {"BootstrapCommand": ["x"], "PackagerType": "deb"}},
                "PackagerTypes": {"deb": {}},
            }
        )
    )
    streams.write_text('{"Streams": {"web": {"ManifestUrl": "dir:///m"}, "base": {"ManifestUrl": "dir:///m"}}}')

    agreeing = run("check-config", main)
    streams.write_text('{"Streams": {"web": {"ManifestUrl": 1}}}')
    broken = run("check-config", main)

    assert [
        f"{main}: warning: $.ImageStreamsToAutoRebuild[1]: no stream is called none",
        f"{main}: warning: $.BootstrapStreams: base is an image stream, too: this one counts",
    ] == agreeing.stdout.splitlines()
    assert 0 == agreeing.exit_code
    assert f"{streams}:1:37: error: $.Streams.web.ManifestUrl: expected a string, got a number\n" == broken.stdout
    assert 1 == broken.exit_code


@pytest.mark.parametrize(
    ("data", "words", "line"),
    [
        (b"{}", ["--kind", "streams"], ":1:1: error: $: neither Streams nor StreamPatterns"),
        (b'{"streampatterns": {"(": {"ManifestUrl": "u"}}}', [], ":1:21: error: $.StreamPatterns['(']: '(' is no"),
        (b'{"BootstrapStreams": [],\n"Odd": 1}', [], ":1:22: error: $.BootstrapStreams: expected an object"),
        (b"NAME=hunter2\nhunter2", ["--kind", "variables"], ":2: error: expected NAME=Value"),
        (b'{"Streams": ', [], ":1:13: error: Expecting value"),
    ],
)
def test_a_wrong_configuration(tmp_path: Path, data: bytes, words: list[str], line: str) -> None:
    """Which one it is is told from its fields; a variable's value is not shown."""
    path = tmp_path / "file"
    path.write_bytes(data)

    result = run("check-config", *words, path)

    assert result.stdout.startswith(f"{path}{line}")
    assert "hunter2" not in result.output
    assert 1 == result.exit_code


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """It is told of like any other fault; the other files are checked all the same."""
    (tmp_path / "b").write_text("[]")

    result = run("check-config", tmp_path / "a", tmp_path / "b")

    assert [
        f"{tmp_path}/a: error: cannot be read: No such file or directory",
        f"{tmp_path}/b:1:1: error: $: expected an object, got an array",
    ] == result.stdout.splitlines()


def test_nobody_may_check(tmp_path: Path) -> None:
    """A user without any rights can, and nothing is written."""
    manifest = tmp_path / "manifest"
    manifest.write_text('{"SourceImage": "base"}')
    tmp_path.chmod(0o555)
    for parent in tmp_path.parents[:2]:
        parent.chmod(0o755)
    command = [sys.executable, "-c", "from imaginator.cli.main import main; main()", "check-manifest", "."]
    as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", *command]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": "/nonexistent"}

    result = subprocess.run(as_nobody, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    assert (0, "0 errors, 0 warnings\n") == (result.returncode, result.stderr)
