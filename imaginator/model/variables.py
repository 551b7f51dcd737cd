"""Variables: how ``$NAME`` expands, what a stream's variables are, and the file that holds the secret ones.

``${NAME[<sep><start>:<end>]}`` splits the value at the one character ``<sep>`` and joins the parts from ``start`` up
to, not including, ``end``; negative numbers count from the end.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from imaginator.model.codec import decode_json, decode_text
from imaginator.model.errors import ConfigurationError

_REFERENCE = re.compile(
    r"\$(?:\{(?P<braced>[^}]*)(?P<closed>\}?)|(?P<name>[A-Za-z_][A-Za-z0-9_]*)|(?P<special>[*#$@!?0-9-]))"
)
_SLICED = re.compile(r"(?P<name>[^\[]*)\[(?P<separator>.)(?P<start>-?[0-9]{1,9})?:(?P<end>-?[0-9]{1,9})?\]", re.DOTALL)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def expand(text: str, variables: Mapping[str, str]) -> str:
    """``text`` with its variables replaced: an unset one is empty, a ``$`` that begins no name stays."""
    return _REFERENCE.sub(lambda reference: _value(reference, variables), text)


def _value(reference: re.Match[str], variables: Mapping[str, str]) -> str:
    braced = reference["braced"]
    if braced is None:
        return variables.get(reference["name"] or reference["special"], "")
    if not reference["closed"]:
        return braced
    sliced = _SLICED.fullmatch(braced)
    return _slice(variables.get(sliced["name"], ""), sliced) if sliced else variables.get(braced, "")


def _slice(value: str, sliced: re.Match[str]) -> str:
    """The chosen parts of ``value``; empty where the numbers choose none, as the original has it."""
    parts = value.split(sliced["separator"])
    start = _position(sliced["start"] or "0", len(parts))
    end = len(parts) if sliced["end"] is None else _position(sliced["end"], len(parts))
    beyond = sliced["end"] is not None and end >= len(parts)
    if beyond or start < 0 or end < start:
        return ""
    return sliced["separator"].join(parts[start:end])


def _position(number: str, count: int) -> int:
    position = int(number)
    return position + count if position < 0 else position


def stream_variables(stream: str, arch: str, own: Mapping[str, str]) -> dict[str, str]:
    """The variables of an image stream: its built-in ones, and its own, whose values may use ``$IMAGE_STREAM``."""
    directory, _, leaf = stream.rpartition("/")
    return {
        **{name: expand(value, {"IMAGE_STREAM": stream}) for name, value in own.items()},
        "ARCH": arch,
        "IMAGE_STREAM": stream,
        "IMAGE_STREAM_DIRECTORY_NAME": directory or ".",
        "IMAGE_STREAM_LEAF_NAME": leaf,
    }


def parse_variables_file(data: bytes, where: str) -> dict[str, str]:
    """The variables of a file of ``NAME=Value`` lines, or of one JSON object of strings.

    Raises `ConfigurationError` with the line, never with its text, which may be a secret.
    """
    if data.lstrip().startswith(b"{"):
        return decode_json(data, dict[str, str], where)
    variables = {}
    for number, line in enumerate(decode_text(data, where).split("\n"), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            name, equals, value = line.strip().partition("=")
            if not equals or not _NAME.fullmatch(name):
                raise ConfigurationError(where, "expected NAME=Value", number)
            variables[name] = value
    return variables
