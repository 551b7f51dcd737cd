"""What can be wrong with bytes from outside, and with whoever sends them."""

from __future__ import annotations


class BadGob(ValueError):
    """A stream that is no gob, is one of other types than expected, or breaks a limit; the words say where and how."""


class Broken(Exception):
    """The conversation is over: the peer went away, was too slow, or said what makes no sense; another one may do."""


class Unwelcome(Broken):
    """The peer will not talk to whoever we are, or has no idea what we want; another try would end the same way."""


class Refused(Exception):
    """The peer's words for not doing what it was asked; the conversation goes on."""
