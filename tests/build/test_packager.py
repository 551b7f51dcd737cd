"""The generic packager script in real shells, and the package list."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from imaginator.build.packager import generic_packager_script, parse_list, parse_multiplier, quote
from imaginator.model.errors import BuildFailed
from imaginator.model.image import Package
from imaginator.model.packagers import ListCommand, PackagerType

SHELLS = [["dash"], ["bash", "--posix"], ["busybox", "sh"]]
SHOW = ["printf", "<%s>\\n"]
HOSTILE = [
    "a b", " a ", "it's", "'", "'\\''", '"q"', "$HOME", "`id`", "$(id)", "back\\slash", "\\", "\\n", "${A} ${B}\\n",
    "*", "[a-z]", "~", "-n", "--", "", "x\ny\n", "\n", "\t", "\r", "é", "\u2028", "%s%n", ";|&<>#", "!", "{a,b}", "a=b",
    "done", "esac", ";;",
]  # fmt: skip
LONG = "'\\\n " * 25_000

TEXT = st.characters(exclude_characters="\0", exclude_categories=["Cs"])

shells = pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])


def run(shell: list[str], packager: PackagerType, *arguments: str | bytes, stdin: bytes = b"") -> tuple[int, bytes]:
    """Status and output of the script of a packager type, which a shell reads from a file, as in an image."""
    with tempfile.NamedTemporaryFile(prefix="generic-packager-") as script:
        script.write(generic_packager_script(packager))
        script.flush()
        command = [*shell, script.name, *arguments]
        result = subprocess.run(command, input=stdin, capture_output=True, check=False)
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


@given(words=st.lists(st.text(TEXT, max_size=30), max_size=4), names=st.lists(st.binary(max_size=30), max_size=4))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_words_and_names_are_literal(words: list[str], names: list[bytes]) -> None:
    """Whatever is configured, and whatever bytes are asked for, is what the tool gets."""
    packager = PackagerType(install_command=(*SHOW, *words))
    names = [name.replace(b"\0", b"") for name in names]
    expected = b"".join(b"<%s>\n" % word for word in [*(word.encode() for word in words), *names])

    # Given nothing to show, printf shows an empty word.
    for shell in SHELLS:
        assert (0, expected or b"<>\n") == run(shell, packager, "install", *names)


@shells
def test_long_words_are_literal(shell: list[str]) -> None:
    """An argument of 100 kB, all of it special to a shell, is configured, and another is a package's name."""
    packager = PackagerType(install_command=(*SHOW, LONG))

    assert (0, shown([LONG, LONG])) == run(shell, packager, "install", LONG)


@pytest.mark.parametrize("end", ["\\n", "\n"])
def test_the_format_of_a_real_tool(end: str) -> None:
    """A backslash and an n reach dpkg-query as two characters, as a real line break does: it ends lines with both."""
    words = ("dpkg-query", "-f", f"${{Package}} ${{Version}} ${{Installed-Size}}{end}", "-W", "dpkg", "libc6")
    output = subprocess.run([*words[:2], "${Package} ${Version} ${Installed-Size}\\n", *words[3:]], capture_output=True)

    assert (0, output.stdout) == run(["dash"], PackagerType(list_command=ListCommand(words)), "list")
    assert ["dpkg", "libc6"] == [package.name for package in parse_list(output.stdout, 1024)]


@shells
@pytest.mark.parametrize("command", ["install", "remove"])
def test_package_names_follow_the_arguments(shell: list[str], command: str) -> None:
    """Names are appended, one argument each, as literal as the configured ones."""
    packager = PackagerType(install_command=(*SHOW, "$a"), remove_command=(*SHOW, "$a"))

    assert (0, shown(["$a", *HOSTILE])) == run(shell, packager, command, *HOSTILE)


@shells
@pytest.mark.parametrize("command", ["install", "remove"])
def test_no_package_names(shell: list[str], command: str) -> None:
    """Without names a command has its own arguments alone."""
    packager = PackagerType(install_command=(*SHOW, "-y"), remove_command=(*SHOW, "-y"))

    assert (0, b"<-y>\n") == run(shell, packager, command)


@shells
@pytest.mark.parametrize("command", ["clean", "install", "list", "remove", "show-clean-patterns", "update", "upgrade"])
def test_unset_command_does_nothing(shell: list[str], command: str) -> None:
    """A command that is not configured succeeds silently."""
    assert (0, b"") == run(shell, PackagerType(), command, "name")


@shells
@pytest.mark.parametrize("arguments", [["frobnicate"], ["-n\\t"], ["%s"], ["inst*"], ["Install"], []])
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
@pytest.mark.parametrize(
    "verbatim",
    [
        "cmd=list",
        "set -eu",
        "IFS=0",
        "set -f",
        "export A=b\\",
        "case x in x) A=esac ;; esac",
        "A='\n;;\nesac\n'",
        "# '",
    ],
)
def test_verbatim_lines_do_not_disturb_the_script(shell: list[str], verbatim: str) -> None:
    """They may set any variable, such as ours, or an option of the shell, and leave a line to be continued."""
    packager = PackagerType(verbatim=(verbatim,), clean_command=("echo", "cleaned"))

    assert (0, b"cleaned\n") == run(shell, packager, "clean")
    assert (2, b"Invalid command: \n") == run(shell, packager)


@shells
def test_run_passes_its_arguments_on(shell: list[str]) -> None:
    """A command that is run gets exactly what follows it; none at all is no error."""
    assert (0, shown(HOSTILE)) == run(shell, PackagerType(), "run", *SHOW, *HOSTILE)
    assert (0, b"") == run(shell, PackagerType(), "run")


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
    patterns = ("/var/cache/.*\\.bin$", "%s\\n", "'", "-n", "%d %", "$(id)`id`", "(a|b)*", "é\u2028")
    packager = PackagerType(clean_patterns=patterns, list_command=ListCommand(size_multiplier=1024))

    answers = run(shell, packager, "show-clean-patterns"), run(shell, packager, "show-size-multiplier")

    lines = "".join(f"{pattern}\n" for pattern in patterns).encode()
    assert ((0, lines), (0, b"1024\n")) == answers
    assert (0, b"1\n") == run(shell, PackagerType(), "show-size-multiplier")


@given(st.text(TEXT, max_size=50))
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


def test_a_list_is_lines_of_ascii_words() -> None:
    """What Unicode counts as the end of a line or as a space is part of a name, and bytes may be anything."""
    output = "a\u2028b 1\x85\r\nc\u00a0d 2 3\n".encode() + b"\xff 4"

    assert (Package("a\u2028b", "1\x85"), Package("c\u00a0d", "2", 3), Package("\ufffd", "4")) == parse_list(output, 1)


@pytest.mark.parametrize(
    "line", [b"alone", b"zlib 1 much", b"zlib 1 -1", b"zlib 1 1.5", b"zlib 1 \xc2\xb2", b"zlib 1 " + b"9" * 5000]
)
def test_senseless_line_is_an_error(line: bytes) -> None:
    """A line without version, or with a size that is no number, is told by its number."""
    with pytest.raises(BuildFailed, match="line 2"):
        parse_list(b"bash 5\n" + line + b"\n", 1)


def test_a_size_that_no_store_could_keep_is_an_error() -> None:
    """Sizes in bytes are below 2⁶³, whatever the multiplier."""
    assert (Package("a", "1", (1 << 63) - 1),) == parse_list(b"a 1 7", ((1 << 63) - 1) // 7)
    with pytest.raises(BuildFailed, match="'8' is no size"):
        parse_list(b"a 1 8", 1 << 60)


@pytest.mark.parametrize(("output", "multiplier"), [(b"", 1), (b"\n", 1), (b" 1024\n", 1024)])
def test_the_multiplier_of_an_image(output: bytes, multiplier: int) -> None:
    """An image with the original's script need not say one."""
    assert multiplier == parse_multiplier(output)


@pytest.mark.parametrize("output", [b"-1", b"many", b"1 2", b"9" * 5000])
def test_a_senseless_multiplier_is_an_error(output: bytes) -> None:
    """It is shown, but not all of it."""
    with pytest.raises(BuildFailed, match=r"^package show-size-multiplier: .{1,250} is no number$"):
        parse_multiplier(output)


@given(st.binary())
def test_any_output_is_packages_or_an_error(output: bytes) -> None:
    """No output crashes the parser."""
    try:
        packages = parse_list(output, 1)
    except BuildFailed:
        return

    assert sorted(packages, key=lambda package: package.name) == list(packages)
