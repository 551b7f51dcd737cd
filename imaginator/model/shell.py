"""Shells in the trees of failed builds, as values: what is asked for, what is typed, how one ended."""

from __future__ import annotations

from typing import Annotated

import msgspec

LONGEST_WORDS = 64 * 1024
"""Bytes that a shell is given at once."""

Count = Annotated[int, msgspec.Meta(ge=0, le=65535)]


class ShellRequest(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """A command for the tree of a build, by default a shell.

    With ``rows`` and ``columns`` it gets a terminal, of the kind that ``terminal`` names as programs know it (TERM).
    """

    build_id: str
    command: tuple[str, ...] = ()
    rows: Count = 0
    columns: Count = 0
    terminal: Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9._+-]{0,64}\Z")] = ""


class ShellInput(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """What a shell is to read, whether that was all, and its terminal's size where it has changed."""

    shell_id: str
    data: Annotated[bytes, msgspec.Meta(max_length=LONGEST_WORDS)] = b""
    end: bool = False
    rows: Count = 0
    columns: Count = 0


class ShellEnd(msgspec.Struct, frozen=True, rename="pascal"):
    """How a shell ended: its exit status (128 + a signal's number, as shells have it), and why where it was ended."""

    exit_status: int
    reason: str = ""
