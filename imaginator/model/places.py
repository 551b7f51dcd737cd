"""Where in a JSON text its values stand, for errors: found by reading the text once more, when there is an error.

A path is the steps from the top of a document: names of fields and keys of tables as strings, places in arrays as
numbers. ``$.Streams['base/web'].BuilderUsers[0]`` is ``("Streams", "base/web", "BuilderUsers", 0)``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

Path = tuple[str | int, ...]

_SPACE = re.compile(r"[ \t\n\r]*")
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_decoder = json.JSONDecoder()


class Place(NamedTuple):
    """Offsets in a text: of a value, and of its key, which is the value's own where it has none."""

    key: int
    value: int


def show_path(path: Path) -> str:
    """The path as JSONPath has it: RFC 9535, section 2.7, but dots wherever they can be."""
    return "$" + "".join(map(_show_step, path))


def _show_step(step: str | int) -> str:
    return f".{step}" if isinstance(step, str) and _PLAIN.fullmatch(step) else f"[{step!r}]"


def line_and_column(text: str, offset: int) -> tuple[int, int]:
    """Both count from 1; columns are characters."""
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


def places(text: str, start: int, paths: Iterable[Path]) -> dict[Path, Place]:
    """The places of values in the well-formed JSON that begins at ``start``.

    Of a path that leads nowhere the result has the part that leads somewhere, as of all paths. Keys match as fields do:
    the last of equal ones, else regardless of case.
    """
    wanted: _Tree = {}
    for path in paths:
        tree = wanted
        for step in path:
            tree = tree.setdefault(step, {})
    found: dict[Path, Place] = {}
    _descend(text, Place(start, start), wanted, (), found)
    return found


_Tree = dict[str | int, "_Tree"]


def _descend(text: str, place: Place, wanted: _Tree, path: Path, found: dict[Path, Place]) -> None:
    found[path] = place
    if not wanted:
        return
    folded = {step.lower(): step for step in wanted if isinstance(step, str)}
    last = max((step for step in wanted if isinstance(step, int)), default=-1)
    for key, child in _children(text, place.value):
        step = key if key in wanted else folded.get(key.lower()) if isinstance(key, str) else None
        if step is not None and (step == key or (*path, step) not in found):
            _descend(text, child, wanted[step], (*path, step), found)
        if key == last:
            break


def _children(text: str, at: int) -> Iterator[tuple[str | int, Place]]:
    """What is in the object or array at ``at``; nothing in any other value."""
    is_object = text.startswith("{", at)
    if not is_object and not text.startswith("[", at):
        return
    number, at = 0, _after_space(text, at + 1)
    while text[at] not in "}]":
        key: str | int = number
        key_at = at
        if is_object:
            key, at = _decoder.raw_decode(text, at)
            at = _after_space(text, _after_space(text, at) + 1)
        yield key, Place(key_at, at)
        _, at = _decoder.raw_decode(text, at)
        at = _after_space(text, at)
        number, at = number + 1, _after_space(text, at + 1) if text[at] == "," else at


def _after_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    assert found is not None
    return found.end()
