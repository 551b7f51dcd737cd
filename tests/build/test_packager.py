"""The generic packager script in real shells, and the package list."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from imaginator.build.packager import generic_packager_script, parse_list, quote
from imaginator.model.errors import BuildFailed
from imaginator.model.image import Package
from imaginator.model.settings import ListCommand, PackagerType

SHELLS = [["dash"], ["bash", "--posix"], ["busybox", "sh"]]
SHOW = ["printf", "<%s>\\n"]
HOSTILE = ["a b", "it's", '"q"', "$HOME", "`id`", "$(id)", "back\\slash", "*", "~", "-n", "", "x\ny\n", "é", ";|&<>#"]

shells = pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])


def run(shell: list[str], packager: PackagerType, *arguments: str, stdin: bytes = b"") -> tuple[int, bytes]:
    """Status and output of the script of a packager type, given to a shell as its command text."""
    script = generic_packager_script(packager)
    result = subprocess.run(
        [*shell, "-c", script, "generic-packager", *arguments], input=stdin, capture_output=True, check=False
    )
    assert b"" == result.stderr
    return result.returncode, result.stdout


def shown(words: list[str]) -> bytes:
    """What `SHOW` prints of these arguments."""
    return "".join(f"<{word}>\n" for word in words).encode()


@shells
@pytest.mark.parametrize("command", ["clean", "list", "update", "upgrade"])
def test_configured_arguments_are_literal(shell: list[str], command: str) -> None:
    """Whatever a command's arguments hold, the tool gets exactly that."""
    words = tuple(SHOW + HOSTILE)
    packager = PackagerType(
        clean_command=words, list_command=ListCommand(words), update_command=words, upgrade_command=words
    )

    assert (0, shown(HOSTILE)) == run(shell, packager, command)


@shells
@pytest.mark.parametrize("command", ["install", "remove"])
def test_package_names_follow_the_arguments(shell: list[str], command: str) -> None:
    """Names are appended, one argument each, as literal as the configured ones."""
    packager = PackagerType(install_command=(*SHOW, "$a"), remove_command=(*SHOW, "$a"))

    assert (0, shown(["$a", *HOSTILE])) == run(shell, packager, command, *HOSTILE)


@shells
@pytest.mark.parametrize("command", ["clean", "install", "list", "remove", "show-clean-patterns", "update", "upgrade"])
def test_unset_command_does_nothing(shell: list[str], command: str) -> None:
    """A command that is not configured succeeds silently."""
    assert (0, b"") == run(shell, PackagerType(), command, "name")


@shells
@pytest.mark.parametrize("arguments", [["frobnicate"], ["-n\\t"], []])
def test_unknown_command_is_refused(shell: list[str], arguments: list[str]) -> None:
    """An unknown command is named, and the status is 2."""
    expected = f"Invalid command: {''.join(arguments)}\n".encode()

    assert (2, expected) == run(shell, PackagerType(), *arguments)


@shells
def test_copy_in_writes_standard_input(shell: list[str], tmp_path: Path) -> None:
    """A file gets what comes in, whatever its name."""
    target = tmp_path / "-a $b"

    status = run(shell, PackagerType(), "copy-in", str(target), stdin=b"one\0two")

    assert ((0, b""), b"one\0two") == (status, target.read_bytes())


@shells
def test_run_hears_the_verbatim_lines(shell: list[str]) -> None:
    """Verbatim lines come before every command, `run` included."""
    packager = PackagerType(verbatim=("# a comment", "export GREETING='hello  you'"))

    assert (0, b"<hello  you>\n") == run(shell, packager, "run", "sh", "-c", 'printf "<%s>\\n" "$GREETING"')


@shells
def test_verbatim_functions_can_be_commands(shell: list[str]) -> None:
    """A configured command may be a function that the verbatim lines define."""
    packager = PackagerType(verbatim=('greet() { echo "hello $*"; }',), install_command=("greet", "all"))

    assert (0, b"hello all of you\n") == run(shell, packager, "install", "of", "you")


@shells
def test_run_takes_scripts_without_interpreter(shell: list[str], tmp_path: Path) -> None:
    """A script that does not begin with `#!` runs under sh, and its status is passed on."""
    script = tmp_path / "10 script"
    script.write_text("echo plain\nexit 3\n")
    script.chmod(0o755)

    assert (3, b"plain\n") == run(shell, PackagerType(), "run", str(script))


@shells
def test_shows_patterns_and_multiplier(shell: list[str]) -> None:
    """Clean patterns come one a line, unchanged; the multiplier as a number."""
    patterns = ("/var/cache/.*\\.bin$", "%s\\n", "'")
    packager = PackagerType(clean_patterns=patterns, list_command=ListCommand(size_multiplier=1024))

    answers = run(shell, packager, "show-clean-patterns"), run(shell, packager, "show-size-multiplier")

    assert ((0, b"/var/cache/.*\\.bin$\n%s\\n\n'\n"), (0, b"1024\n")) == answers


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=50))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example("'\\''")
def test_quoting_survives_a_shell(word: str) -> None:
    """A quoted word is read back as it was."""
    result = subprocess.run(["dash", "-c", f"printf %s {quote(word)}"], capture_output=True, check=True)

    assert word.encode() == result.stdout


def test_list_is_sorted_and_the_last_duplicate_wins() -> None:
    """Packages come by name, with sizes in bytes."""
    output = b"zlib 1.2 10\nbash 5\n\nzlib 1.3 20 extra\n"

    assert (Package("bash", "5"), Package("zlib", "1.3", 20480)) == parse_list(output, 1024)


@pytest.mark.parametrize("output", [b"bash 5\nalone\n", b"bash 5\nzlib 1 much\n"])
def test_senseless_line_is_an_error(output: bytes) -> None:
    """A line without version, or with a size that is no number, is told by its number."""
    with pytest.raises(BuildFailed, match="line 2"):
        parse_list(output, 1)


@given(st.binary())
def test_any_output_is_packages_or_an_error(output: bytes) -> None:
    """No output crashes the parser."""
    try:
        packages = parse_list(output, 1)
    except BuildFailed:
        return

    assert sorted(packages, key=lambda package: package.name) == list(packages)
