"""Words of configured commands: what no program can be given, and what the original let a shell see first."""

from __future__ import annotations

import re

LONGEST_WORD = (128 << 10) - 1
"""Bytes of one argument of a program; see execve(2)."""

_SPECIAL = re.compile(r"""[$`\\*?\[{'"|&;<>()~#]""")


def check_word(word: str) -> None:
    """Raise ValueError for a word that no program can be given."""
    # NUL characters and half characters are refused wherever a file has a string.
    if (size := len(word.encode())) > LONGEST_WORD:
        raise ValueError(f"{size} bytes, expected at most {LONGEST_WORD}, as an argument of a program has")


def seen_by_a_shell(word: str) -> bool:
    """Whether the shell of the original's script would have made something else of ``word``.

    The original wrote a word into its script as it was, unless there was white space within it: then it quoted it. So a
    format such as ``${Package} ${Version}`` was as literal there as it is here, and ``${Package}`` alone was not.
    """
    if len(word.split()) > 1:
        return "'" in word
    return not word or word != word.strip() or _SPECIAL.search(word) is not None
