"""JSON in and out: files that people write, decoded strictly and told about precisely; answers for programs.

In every JSON file, lines whose first non-blank characters are ``#``, ``//`` or ``!`` are comments, and field names
match regardless of case where none matches exactly.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from imaginator.model.errors import ConfigurationError

LARGEST_FILE = 16 << 20
"""Bytes of one configuration or manifest file."""

DEEPEST = 64
"""How many objects and arrays may lie in one another."""

T = TypeVar("T")
Warn = Callable[[str], None]

_COMMENT = re.compile(r"^[ \t]*(?:#|//|!).*$", re.MULTILINE)


def decode_json(data: bytes, kind: type[T], where: str, warn: Warn | None = None) -> T:
    """The value of a file called ``where``; ``warn`` is told of unknown fields and of text after the value.

    Raises `ConfigurationError` with line and column, or with the path of the field that is wrong.
    """
    tell = (lambda text: warn(f"{where}: {text}")) if warn else (lambda text: None)
    fitted = _fit(parse_json(data, where, warn), inspect.type_info(kind), "$", tell)
    try:
        return msgspec.convert(fitted, kind)
    except msgspec.ValidationError as error:
        raise ConfigurationError(where, _sentence(error)) from None


def parse_json(data: bytes, where: str, warn: Warn | None = None) -> Any:
    """The bare values of a JSON file with comments; raises `ConfigurationError` with line and column."""
    text = _without_comments(data, where)
    start = len(text) - len(text.lstrip())
    try:
        value, end = _decoder.raw_decode(text, start)
    except json.JSONDecodeError as error:
        raise ConfigurationError(where, f"line {error.lineno}, column {error.colno}: {error.msg}") from None
    except RecursionError:
        raise ConfigurationError(where, f"objects nested deeper than {DEEPEST}") from None
    except ValueError as error:
        raise ConfigurationError(where, f"unacceptable JSON: {error}") from None
    if warn is not None and text[end:].strip():
        warn(f"{where}: line {text.count(chr(10), 0, end) + 1}: text after the first value is ignored")
    return value


def _without_comments(data: bytes, where: str) -> str:
    if len(data) > LARGEST_FILE:
        raise ConfigurationError(where, f"{len(data)} bytes, expected at most {LARGEST_FILE}")
    return _COMMENT.sub(lambda comment: " " * len(comment[0]), decode_text(data, where))


def decode_text(data: bytes, where: str) -> str:
    """The UTF-8 text of a file called ``where``; raises `ConfigurationError` with the line that is not."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(where, f"line {line}: not UTF-8 at byte {error.start}") from None


def _unacceptable(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON number")


_decoder = json.JSONDecoder(parse_constant=_unacceptable)


def _fit(value: Any, kind: inspect.Type, path: str, tell: Warn, depth: int = 0) -> Any:
    """``value`` with the names of its fields as ``kind`` spells them, unknown ones told of."""
    if depth > DEEPEST:
        raise ConfigurationError(path[:80], f"objects nested deeper than {DEEPEST}")
    if isinstance(kind, inspect.UnionType):
        kind = next((one for one in kind.types if not isinstance(one, inspect.NoneType)), kind)
    if isinstance(kind, inspect.StructType) and isinstance(value, dict):
        return _fit_fields(value, kind, path, tell, depth)
    if isinstance(kind, inspect.DictType) and isinstance(value, dict):
        return {key: _fit(item, kind.value_type, f"{path}[{key!r}]", tell, depth + 1) for key, item in value.items()}
    if isinstance(kind, inspect.VarTupleType | inspect.ListType) and isinstance(value, list):
        return [_fit(item, kind.item_type, f"{path}[{at}]", tell, depth + 1) for at, item in enumerate(value)]
    return value


def _fit_fields(value: Mapping[str, Any], kind: inspect.StructType, path: str, tell: Warn, depth: int) -> Any:
    fields = {field.encode_name: field for field in kind.fields}
    folded = {name.lower(): name for name in fields}
    fitted = {}
    for key, item in value.items():
        name = key if key in fields else folded.get(key.lower())
        if name is None:
            tell(f"unknown field {path}.{key} is ignored")
        elif name == key or name not in value:
            fitted[name] = _fit(item, fields[name].type, f"{path}.{name}", tell, depth + 1)
    return fitted


def _sentence(error: msgspec.ValidationError) -> str:
    """``$.PackagerTypes['deb']: expected array, got str`` from the library's own words."""
    problem, _, place = str(error).partition(" - at ")
    return f"{place.strip('`') or '$'}: {problem[:1].lower()}{problem[1:]}".replace("`", "")


def to_plain(value: object) -> Any:
    """``value`` as JSON values: RFC 3339 times, bytes as text with what is not UTF-8 as ``\\xNN``."""
    return _plain(msgspec.to_builtins(value, builtin_types=(bytes, datetime)))


def _plain(value: Any) -> Any:
    match value:
        case bytes():
            return value.decode(errors="backslashreplace")
        case datetime():
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case dict():
            return {_plain(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
    return value


def to_json(value: object) -> bytes:
    """The JSON text of ``value``, in UTF-8."""
    return msgspec.json.encode(to_plain(value))
