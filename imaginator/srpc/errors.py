"""What can be wrong with bytes from outside."""

from __future__ import annotations


class BadGob(ValueError):
    """A stream that is no gob, is one of other types than expected, or breaks a limit; the words say where and how."""
