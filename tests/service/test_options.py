"""The daemon's flags."""

from __future__ import annotations

from pathlib import Path

import pytest

from imaginator.service.options import FLAGS, Options


def parsed(folder: Path, *words: str) -> Options:
    """The options of a command line, the flags files in ``folder``."""
    options = Options()
    options.parseOptions(["--flags-directory", str(folder), *words])
    return options


def test_defaults(tmp_path: Path) -> None:
    """Every flag has a default of its kind."""
    options = parsed(tmp_path)

    assert (6975, 3600.0, 100 << 20) == (options["port"], options["image-rebuild-interval"], options["log-quota"])
    assert Path("/var/log/imaginator/builds") == options["build-log-dir"]
    assert 5 << 30 == options["package-cache-size"]
    assert options["variables-file"] is None


def test_the_command_line_wins(tmp_path: Path) -> None:
    """Over flags.extra, which wins over flags.default; both know the original's spellings."""
    (tmp_path / "flags.default").write_text("# comment\nport=1\nlogQuota=1M\nstate-dir=/a\n")
    (tmp_path / "flags.extra").write_text("portNum=2\nlog-quota=2M\n")
    options = parsed(tmp_path, "--port=3")

    assert (3, 2 << 20, Path("/a")) == (options["port"], options["log-quota"], options["state-dir"])


@pytest.mark.parametrize("words", [["-portNum=7"], ["-portNum", "7"], ["--port", "7"]])
def test_spellings_of_the_original(tmp_path: Path, words: list[str]) -> None:
    """One dash and camel case are understood."""
    assert 7 == parsed(tmp_path, *words)["port"]


@pytest.mark.parametrize(
    ("words", "part"),
    [(["--port=x"], "--port"), (["--nothing=1"], "nothing"), (["--log-quota=much"], "much"), (["word"], "rguments")],
)
def test_senseless_flags(tmp_path: Path, words: list[str], part: str) -> None:
    """One sentence, which is an exit status that is not zero."""
    with pytest.raises(SystemExit) as ended:
        parsed(tmp_path, *words)

    assert part in str(ended.value.code)


def test_dashboards(tmp_path: Path) -> None:
    """Names and addresses of the web; anything else is refused with an example."""
    links = parsed(tmp_path, "--dashboards=Grafana=https://g.example/d?a=b, The host=http://h.example/")["dashboards"]

    assert [("Grafana", "https://g.example/d?a=b"), ("The host", "http://h.example/")] == [
        (link.name, link.url) for link in links
    ]
    assert () == parsed(tmp_path)["dashboards"]
    for word in ("javascript:alert(1)", "x=javascript:alert(1)", "=https://x.example/", "https://x.example/?x"):
        with pytest.raises(SystemExit, match="is no link: expected something like Grafana="):
            parsed(tmp_path, f"--dashboards={word}")


def test_help_lists_every_flag(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And ends well."""
    with pytest.raises(SystemExit) as ended:
        parsed(tmp_path, "-h")

    assert ended.value.code in (0, None)
    shown = capsys.readouterr().out
    assert not [flag.name for flag in FLAGS if f"--{flag.name}=" not in shown]


def test_verification_is_asked_for_on_the_command_line_alone(tmp_path: Path) -> None:
    """A flags file that names it is refused, whatever its value."""
    assert not parsed(tmp_path)["verify-store"]
    assert parsed(tmp_path, "--verify-store")["verify-store"]

    (tmp_path / "flags.default").write_text("verify-store=on\n")
    with pytest.raises(SystemExit, match="there is no flag verify-store"):
        parsed(tmp_path)
