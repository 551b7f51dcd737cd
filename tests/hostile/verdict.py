"""What comes of a hostile input: a value, or one clear sentence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from imaginator.model.errors import ConfigurationError, ImaginatorError

LONGEST_SENTENCE = 2000
"""Characters; an attacker's megabyte is not repeated to a reader."""

REFUSED: Any = object()
"""Stands for the value of an input that was refused."""


def outcome(work: Callable[[], Any]) -> tuple[Any, str]:
    """The value of ``work`` and no words, or `REFUSED` and the sentence; anything but a clear one fails the test."""
    try:
        return work(), ""
    except ImaginatorError as error:
        sentences = [str(error)]
        if isinstance(error, ConfigurationError):
            sentences += map(str, error.problems)
    for sentence in sentences:
        assert sentence.isprintable(), sentence[:LONGEST_SENTENCE]
        assert len(sentence) <= LONGEST_SENTENCE
    return REFUSED, sentences[0]
