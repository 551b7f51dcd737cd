"""Completion of commands, options and names in a shell."""

from __future__ import annotations

import os

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    add_completion_class,
    get_completion_class,
    split_arg_string,
)

SHELLS = ("bash", "fish", "zsh")

_BASH = """\
%(complete_func)s() {
    local type value line=${COMP_LINE:0:COMP_POINT}
    COMPREPLY=()
    while IFS=, read -r type value
    do
        case $type in
        dir) compopt -o dirnames ;;
        file) compopt -o default ;;
        plain) COMPREPLY+=("$value") ;;
        esac
    done < <(COMMAND=$1 LINE=$line BREAKS=$COMP_WORDBREAKS %(complete_var)s=bash_complete "$1" 2>/dev/null)
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""


class Bash(BashComplete):
    """Completion in bash, which takes a colon for the end of a word; names of images have some."""

    source_template = _BASH

    def get_completion_args(self) -> tuple[list[str], str]:
        """The whole words of the line before the cursor, and the one that it is in or behind."""
        line = os.environ["LINE"]
        words = split_arg_string(line)
        words = words[words.index(os.environ["COMMAND"]) + 1 :]
        last = "" if line[-1:].isspace() or not words else words.pop()
        self._begun = _before_colon(last)
        return words, last

    def format_completion(self, item: CompletionItem[str]) -> str:
        """What bash is to put in the place of what it takes for the word."""
        return f"{item.type},{item.value.removeprefix(self._begun)}"


def _before_colon(word: str) -> str:
    """What bash takes for words before the one that it completes."""
    value = word.partition("=")[2] if word.startswith("-") else word
    before, colon, _ = value.rpartition(":" if ":" in os.environ["BREAKS"] else "\0")
    return before + colon


def register() -> None:
    """Let the tool answer bash in our way."""
    add_completion_class(Bash, "bash")


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what makes SHELL complete commands, options, and the names of streams, images and builds.

    To have it for good, write into ~/.bashrc or ~/.zshrc: eval "$(builder-tool completion bash)", or zsh; into
    ~/.config/fish/config.fish: builder-tool completion fish | source. Names come from the daemon, where it answers at
    once.
    """
    register()
    root = context.find_root()
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(root.command, {}, "builder-tool", "_BUILDER_TOOL_COMPLETE").source())
