"""What the tool says: results on standard output, everything else on standard error."""

from __future__ import annotations

import codecs
import json
import sys
from collections.abc import Iterable, Sequence

import click

_CLEAR_LINE = "\r\x1b[2K"
_UNSAFE = {code: None for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n"}
"""Control characters, which could make a terminal do what a build's log says; cleared away."""


json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


def show_result(text: str) -> None:
    """A line of the result."""
    click.echo(text)


def show_json(value: object) -> None:
    """A result for programs: JSON, indented by four."""
    click.echo(json.dumps(value, indent=4, ensure_ascii=False))


def show_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Rows under headings, in columns as wide as they need."""
    lines = [headings, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def note(sentence: str) -> None:
    """A line for people."""
    click.echo(sentence, err=True)


def show_text(text: str) -> None:
    """Text that others wrote, without what could play tricks on a terminal."""
    click.echo(text.translate(_UNSAFE), err=True, nl=False)


class Progress:
    """What happens meanwhile: on a terminal a line that changes, else a line for each change; and logs as they grow."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._said = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._open_line = False

    def say(self, sentence: str) -> None:
        """The state of things; said once until it changes."""
        if sentence == self._said:
            return
        self._said = sentence
        if self._terminal:
            click.echo(_CLEAR_LINE + sentence, err=True, nl=False)
            self._open_line = True
        else:
            note(sentence)

    def log(self, data: bytes) -> None:
        """The next bytes of a log."""
        self.end()
        show_text(self._decoder.decode(data))

    def end(self) -> None:
        """Leave the terminal with an empty line to write on."""
        if self._open_line:
            click.echo(_CLEAR_LINE, err=True, nl=False)
            self._open_line = False
            self._said = ""
