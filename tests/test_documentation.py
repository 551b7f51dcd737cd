"""The documentation's words: commands that the programs' own parsers take, messages that the programs say."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from imaginator.cli.commands import command
from imaginator.cli.main import builder_tool
from imaginator.service.options import Options
from tests.support.documented import LITERAL

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").glob("*.rst"))
PROGRAMS = ("apt", "apt-get", "builder-tool", "imaginator", "make", "pip", "service", "sqlite3", "systemctl", "tool")
"""What a line of commands begins with."""

WHOLE_PAGE = ".. every block of this page is run by "
BLOCK = re.compile(r"^\.\. run by (\S+)$", re.MULTILINE)
_INLINE = re.compile(r"``((?:builder-tool|imaginator|make) [^`]*)``")
_MESSAGE = re.compile(r"^``(.+)``$", re.MULTILINE)


def lines(page: Path) -> Iterator[str]:
    """What stands in a page's literal blocks, continued lines as one; and the commands within its sentences."""
    text = page.read_text()
    for block in LITERAL.findall(text):
        yield from (line.strip() for line in block.replace("\\\n", " ").splitlines())
    yield from (found.replace("\n", " ") for found in _INLINE.findall(text))


def commands(program: str) -> list[list[str]]:
    """The words of all command lines of a program; the same one counts once."""
    said = (
        line.partition(" > ")[0] for page in PAGES for line in lines(page) if line.split(maxsplit=1)[:1] == [program]
    )
    return [list(words) for words in dict.fromkeys(tuple(shlex.split(line, comments=True)) for line in said)]


def sources() -> str:
    """All that the programs may say, and the words of the tools that they pass on."""
    passed_on = "No space left on device\ndatabase or disk is full\nAddress already in use\nConnection was refused\n"
    return passed_on + "".join(path.read_text() for path in (ROOT / "imaginator").rglob("*.py"))


def messages() -> list[str]:
    """The messages that the page on troubleshooting explains."""
    text = (ROOT / "docs" / "troubleshooting.rst").read_text()
    return [message for line in _MESSAGE.findall(text) for message in line.split("``, ``")]


def unrun(page: Path) -> Iterator[str]:
    """The blocks of commands of which nothing is said that runs them, or whose test does not speak of this page."""
    end = 0
    text = page.read_text()
    for block in LITERAL.finditer(text):
        named = BLOCK.findall(text[end : block.start()])
        end = block.end()
        by = named[-1] if named else text.partition(WHOLE_PAGE)[2].split("\n")[0]
        begins = {word.rpartition("/")[2] for word in re.findall(r"^ {4}(\S+)", block[1], re.MULTILINE)}
        if begins & {*PROGRAMS} and not (by and speaks_of(ROOT / by, page, block[1])):
            yield block[1]


def speaks_of(test: Path, page: Path, block: str) -> bool:
    """Whether a test takes a page's commands from it, or CI has them itself."""
    text = test.read_text()
    return page.name in text or all(line.split("#")[0].strip() in text for line in block.splitlines())


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.rst"], ids=lambda page: page.name)
def test_every_block_of_commands_is_run(page: Path) -> None:
    """A comment before it says by what."""
    assert [] == list(unrun(page))


@pytest.mark.parametrize("words", [words for words in commands("builder-tool") if words[1:]], ids=" ".join)
def test_commands_of_the_tool(words: list[str]) -> None:
    """Each has options that there are, and as many arguments as the command takes, or is spoken of without any."""
    if words[1].startswith("-"):
        builder_tool.make_context("builder-tool", [*words[1:], "--help"], resilient_parsing=True)
        return
    found = command(words[1])
    arguments = [one for one in found.params if isinstance(one, click.Argument) and one.required]
    # One that is only named, or has placeholders such as DIR, is parsed as far as its options go.
    parser = found.make_parser(click.Context(found))
    values, left, _ = parser.parse_args(words[2:])

    assert [] == left
    given = [one for one in arguments if values.get(str(one.name)) is not None]
    assert len(given) in (0, len(arguments))


@pytest.mark.parametrize("words", [words for words in commands("imaginator") if words[1:2] != ["-h"]], ids=" ".join)
def test_commands_of_the_daemon(words: list[str]) -> None:
    """Its flags are flags that there are."""
    assert {word.lstrip("-") for word in words[1:] if word.startswith("--")} <= {
        *Options().longOpt,
        *(name.rstrip("=") for name in Options().longOpt),
    }


@pytest.mark.parametrize("words", commands("make"), ids=" ".join)
def test_targets(words: list[str]) -> None:
    """They are the Makefile's, and so are the variables that they are given."""
    makefile = (ROOT / "Makefile").read_text()

    assert f"\n{words[1]}:" in makefile
    for variable in words[2:]:
        assert f"$({variable.partition('=')[0]}" in makefile or f"{variable.partition('=')[0]}," in makefile


def test_there_are_commands() -> None:
    """Those that are looked for are found."""
    assert ["builder-tool", "check-config", "conf.json"] in commands("builder-tool")
    assert ["imaginator", "--verify-store"] in commands("imaginator")
    assert ["make", "deb"] in commands("make")


@pytest.mark.parametrize("message", messages())
def test_messages(message: str) -> None:
    """What is explained is said somewhere: every part between names and colons."""
    said = sources()

    for part in re.split("…|: ", message):
        assert part.strip(" ;:,") in said
