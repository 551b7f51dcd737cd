"""Arguments that are literal, and were not for the original: told of, and nothing else is."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from imaginator.model.packagers import ListCommand, PackagerType, literal_arguments
from imaginator.model.words import seen_by_a_shell


@pytest.mark.parametrize(
    "word",
    [
        "$HOME",
        "`id`",
        "*.deb",
        "[ab]",
        "what?",
        "a\\n",
        "'${Package}'",
        '"x"',
        "~",
        "a;b",
        "{a,b}",
        "",
        " a",
        "it's so",
    ],
)
def test_what_a_shell_would_have_seen_is_told(word: str) -> None:
    """The sentence has the place and the argument."""
    packager = PackagerType(list_command=ListCommand(("dpkg-query", word)))

    told = list(literal_arguments(packager))

    assert [("ListCommand", "ArgList", 1)] == [place for place, _ in told]
    assert told[0][1].startswith(f"{word!r} reaches the program as it stands")


@pytest.mark.parametrize(
    "word",
    ["apt-get", "-y", "--option=a/b:c", "${Package} ${Version}\\n", "a `b` *", "%{NAME} %{EVR}\n", "é", "1,2", "+@^"],
)
def test_what_was_literal_to_the_original_too_is_not(word: str) -> None:
    """White space within an argument made the original quote it: no warning for the formats that everybody has."""
    packager = PackagerType(clean_command=(word,), install_command=("x", word), remove_command=(word, word))

    assert [] == list(literal_arguments(packager))


def test_a_long_argument_is_cut_short() -> None:
    """The log is spared an argument of 100 kB."""
    packager = PackagerType(update_command=("$" * 100_000,))

    (_, sentence), *_ = literal_arguments(packager)

    assert len(sentence) < 200


def original(word: str) -> str:
    """``word`` as the original wrote it into its script."""
    if len(word.split()) < 2:
        return word
    return f"'{word[:-1]}\\n'" if word.endswith("\n") else f"'{word}'"


@given(st.text("ab -=./:%+,@$`\\*?[]{}'\"|&;<>()~#!^\n\té", max_size=8))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example("a {b,c}")
@example("a=~")
def test_nothing_is_kept_quiet(word: str) -> None:
    """A word that is not told of came out of the original's script as it was, but for a line break at its end."""
    if seen_by_a_shell(word):
        return
    expected = f"{word[:-1]}\\n" if len(word.split()) > 1 and word.endswith("\n") else word
    for shell in ("dash", "bash"):
        command = [shell, "-c", f"printf '<%s>' {original(word)}"]
        result = subprocess.run(command, capture_output=True, check=False, cwd="/")

        assert f"<{expected}>".encode() == result.stdout
