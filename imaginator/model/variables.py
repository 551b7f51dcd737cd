"""Variables: how ``$NAME`` expands, what a stream's variables are, and the file that holds the secret ones.

``${NAME[<sep><start>:<end>]}`` splits the value at the one character ``<sep>`` and joins the parts from ``start`` up
to, not including, ``end``; negative numbers count from the end.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from imaginator.model.codec import decode_json, decode_text
from imaginator.model.errors import ConfigurationError, InvalidRequest

_REFERENCE = re.compile(
    r"\$(?:\{(?P<braced>[^}]*)(?P<closed>\}?)|(?P<name>[A-Za-z_][A-Za-z0-9_]*)|(?P<special>[*#$@!?0-9-]))"
)
_SLICED = re.compile(r"(?P<name>[^\[]*)\[(?P<separator>.)(?P<start>-?[0-9]{1,9})?:(?P<end>-?[0-9]{1,9})?\]", re.DOTALL)
MOST_VARIABLES = 200
LARGEST_VARIABLES = 64 << 10
"""Bytes of all names and values of one request, or of a variables file."""

LONGEST_SECRET = 4096
"""Characters: as many as a URL may have."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def expand(text: str, variables: Mapping[str, str]) -> str:
    """``text`` with its variables replaced: an unset one is empty, a ``$`` that begins no name stays."""
    if "$" not in text:
        return text
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


def references(text: str) -> Iterator[str]:
    """The names of the variables that ``text`` uses."""
    for reference in _REFERENCE.finditer(text):
        if reference["name"] or reference["closed"]:
            yield reference["name"] or reference["braced"].partition("[")[0]


def check_without_secrets(texts: Iterable[tuple[str, str]], secrets: Mapping[str, str], where: str) -> None:
    """Raise `ConfigurationError` where a field of ``texts`` (its name and what it says) uses a secret."""
    for field, text in texts if secrets else ():
        for name in references(text):
            if name in secrets:
                problem = f"{field}: ${name} is a secret, and expands in manifest locations and URLs only"
                raise ConfigurationError(where, problem)


def check_request_variables(variables: Mapping[str, str]) -> None:
    """Raise `InvalidRequest` unless a request's variables can be the environment of a command."""
    if len(variables) > MOST_VARIABLES:
        raise InvalidRequest(f"{len(variables)} variables: at most {MOST_VARIABLES} are allowed")
    size = sum(len(text.encode(errors="surrogatepass")) for pair in variables.items() for text in pair)
    if size > LARGEST_VARIABLES:
        raise InvalidRequest(f"{size} bytes of variables: at most {LARGEST_VARIABLES} are allowed")
    for name, value in variables.items():
        check_variable_name(name)
        if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
            raise InvalidRequest(f"variable {name}: its value holds a NUL or half a character")


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


def check_variable_name(name: str) -> None:
    """Raise `InvalidRequest` unless a variable of a command can be called so."""
    if not _NAME.fullmatch(name):
        raise InvalidRequest(f"variable {name!r}: expected a name of letters, digits and _, not beginning with a digit")


def parse_variables_file(data: bytes, where: str) -> dict[str, str]:
    """The variables of a file of ``NAME=Value`` lines, or of one JSON object of strings.

    Raises `ConfigurationError` with the line, never with its text, which may be a secret.
    """
    if len(data) > LARGEST_VARIABLES:
        raise ConfigurationError(where, f"{len(data)} bytes: at most {LARGEST_VARIABLES} are allowed")
    is_json = data.lstrip().startswith(b"{")
    variables = decode_json(data, dict[str, str], where) if is_json else _parse_lines(data, where)
    for number, (name, value) in enumerate(variables.items(), 1):
        if not _NAME.fullmatch(name):
            raise ConfigurationError(where, f"variable {number}: its name is no name of a variable")
        if len(value) > LONGEST_SECRET:
            raise ConfigurationError(where, f"{name}: {len(value)} characters: at most {LONGEST_SECRET} are allowed")
    return variables


def _parse_lines(data: bytes, where: str) -> dict[str, str]:
    variables = {}
    for number, line in enumerate(decode_text(data, where).split("\n"), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            name, equals, value = line.strip().partition("=")
            if not equals or not _NAME.fullmatch(name):
                raise ConfigurationError(where, "expected NAME=Value", number)
            variables[name] = value
    return variables
