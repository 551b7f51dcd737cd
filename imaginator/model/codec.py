"""JSON in and out: files that people write, decoded strictly and told about precisely; answers for programs.

In every JSON file, lines whose first non-blank characters are ``#``, ``//`` or ``!`` are comments, and field names
match regardless of case where none matches exactly.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache, partial
from operator import itemgetter
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec import inspect

from imaginator.model.errors import ConfigurationError, ImaginatorError
from imaginator.model.fitting import DEEPEST, WRONG, Fitting, from_pairs
from imaginator.model.places import Path, Place, line_and_column, places, show_path
from imaginator.model.problems import MOST, Problem, Warn, bounded, untold

LARGEST_FILE = 16 << 20
"""Bytes of one configuration or manifest file."""

ENOUGH = 10_000
"""Problems after which a file need not be looked at any further."""

T = TypeVar("T")

_COMMENTS = ("#", "//", "!")


class JsonFile:
    """A JSON file called ``where``, what is wrong with it and what is doubtful; its value is decoded by `decode`.

    Raises `ConfigurationError` with line and column where it is no JSON.
    """

    def __init__(self, data: bytes, where: str, warn: Warn = untold) -> None:
        self.where = where
        self._warn = warn
        self._wrong: list[_Finding] = []
        self._doubtful: list[_Finding] = []
        self._text = _without_comments(data, where)
        self._start = len(self._text) - len(self._text.lstrip())
        self.value, self._end = self._parse()

    def decode(self, kind: type[T], *, among_others: bool = False) -> T | None:
        """The value as ``kind``, None where it is wrong in every part; of tables what is good of them is kept.

        What is wrong is told of by `finish`. ``among_others``: what ``kind`` does not have is nobody's business.
        """
        fitting = Fitting(self.wrong, _unheeded if among_others else partial(self._doubt, of_key=True))
        fitted = fitting.fit(self.value, inspect.type_info(kind))
        return None if fitted is WRONG else fitted

    def keys(self, name: str) -> list[str]:
        """The keys of a table at the top, good ones and others."""
        table = next((item for key, item in self.value.items() if key.lower() == name.lower()), None)
        return list(table) if isinstance(table, dict) else []

    def wrong(self, path: Path, words: str, *, of_key: bool = False) -> None:
        """Something is wrong with the value at ``path``, or with its key.

        Raises as `finish` does where it is so much that no more need be looked for.
        """
        self._wrong.append(_Finding(path, words, of_key))
        if len(self._wrong) == ENOUGH:
            self.finish()

    def doubtful(self, path: Path, words: str) -> None:
        """Something is to be warned about."""
        self._doubt(path, words, of_key=False)

    def _doubt(self, path: Path, words: str, *, of_key: bool) -> None:
        if len(self._doubtful) < ENOUGH:
            self._doubtful.append(_Finding(path, words, of_key))

    def check(self, path: Path, test: Callable[..., object], *arguments: object, of_key: bool = False) -> None:
        """Call ``test``; what it raises is wrong with the value at ``path``, or with its key."""
        try:
            test(*arguments)
        except ConfigurationError as error:
            self.wrong(path, error.problem, of_key=of_key)
        except (ImaginatorError, ValueError) as error:
            self.wrong(path, str(error), of_key=of_key)

    def finish(self) -> None:
        """Warn of what is doubtful; raise `ConfigurationError` with all that is wrong, if anything is."""
        for problem in self._problems(self._doubtful):
            self._warn(problem)
        if rest := self._text[self._end :].lstrip():
            place = line_and_column(self._text, len(self._text) - len(rest))
            self._warn(Problem(self.where, "text after the first value is ignored", *place))
        if self._wrong:
            raise ConfigurationError.of(self._problems(self._wrong))

    def _problems(self, findings: list[_Finding]) -> list[Problem]:
        """With their places, in the order of the text."""
        known = places(self._text, self._start, (finding.path for finding in findings[:MOST]))
        found = sorted(((_offset(finding, known), finding) for finding in findings[:MOST]), key=itemgetter(0))
        located = [
            Problem(self.where, finding.words, *line_and_column(self._text, offset), show_path(finding.path))
            for offset, finding in found
        ]
        rest = [Problem(self.where, finding.words) for finding in findings[MOST:]]
        return [problem.readable() for problem in bounded([*located, *rest])]

    def _parse(self) -> tuple[Any, int]:
        try:
            return _decoder.raw_decode(self._text, self._start)
        except json.JSONDecodeError as error:
            raise ConfigurationError(self.where, error.msg, error.lineno, error.colno) from None
        except RecursionError:
            raise ConfigurationError(self.where, f"objects nested deeper than {DEEPEST}") from None
        except ValueError as error:
            raise ConfigurationError(self.where, f"unacceptable JSON: {error}") from None


def _unheeded(_path: Path, _words: str) -> None:
    pass


class _Finding(NamedTuple):
    path: Path
    words: str
    of_key: bool = False


def _offset(finding: _Finding, known: dict[Path, Place]) -> int:
    """Where a value stands, or the innermost thing around it that is there."""
    path = finding.path
    while path not in known:
        path = path[:-1]
    return known[path].key if finding.of_key else known[path].value


def decode_json(data: bytes, kind: type[T], where: str, warn: Warn = untold) -> T:
    """The value of a file called ``where``; ``warn`` is told of unknown fields and of text after the value.

    Raises `ConfigurationError` with all that is wrong.
    """
    file = JsonFile(data, where, warn)
    value = file.decode(kind)
    file.finish()
    assert value is not None
    return value


def parse_json(data: bytes, where: str) -> Any:
    """The bare values of a JSON file with comments; raises `ConfigurationError` with line and column."""
    return JsonFile(data, where).value


def _without_comments(data: bytes, where: str) -> str:
    """The text with blanks for comments, so that places stay what they are."""
    if len(data) > LARGEST_FILE:
        raise ConfigurationError(where, f"{len(data)} bytes, expected at most {LARGEST_FILE}")
    # Line by line: one regular expression over all of a large file would keep other threads from their turns.
    return "\n".join(map(_blank_comment, decode_text(data, where).split("\n")))


def _blank_comment(line: str) -> str:
    return " " * len(line) if line.lstrip(" \t").startswith(_COMMENTS) else line


def decode_text(data: bytes, where: str) -> str:
    """The UTF-8 text of a file called ``where``; raises `ConfigurationError` with the line that is not."""
    try:
        return data.decode("utf-8-sig")  # some editors of Windows begin so
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(where, f"not UTF-8 at byte {error.start} of the file", line) from None


def _unacceptable(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON number")


_decoder = json.JSONDecoder(parse_constant=_unacceptable, object_pairs_hook=from_pairs)


def to_plain(value: object) -> Any:
    """``value`` as JSON values: RFC 3339 times, bytes as text with what is not UTF-8 as ``\\xNN``."""
    return _plain(msgspec.to_builtins(value, builtin_types=(bytes, datetime)))


def _plain(value: Any) -> Any:
    match value:
        case str():  # the most frequent
            return value
        case dict():
            return {_plain(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case bytes():
            return value.decode(errors="backslashreplace")
        case datetime():
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return value


def to_json(value: object) -> bytes:
    """The JSON text of ``value``, in UTF-8."""
    is_ready = _is_ready(type(value))  # type: ignore[arg-type]  # a type can be hashed
    return msgspec.json.encode(value if is_ready else to_plain(value))


@cache
def _is_ready(kind: type) -> bool:
    """Whether msgspec writes values of a kind as `to_plain` has them: structures without bytes, whose times are UTC."""
    return issubclass(kind, msgspec.Struct) and not _has_bytes(inspect.type_info(kind), frozenset())


def _has_bytes(info: object, within: frozenset[type]) -> bool:
    """Whether there are bytes in what a type's description has; ``within`` are the structures that it lies in."""
    if isinstance(info, inspect.BytesType):
        return True
    if isinstance(info, inspect.StructType):
        if info.cls in within:
            return False
        parts = [field.type for field in info.fields]
        return any(_has_bytes(part, within | {info.cls}) for part in parts)
    single = [getattr(info, name) for name in ("item_type", "key_type", "value_type") if hasattr(info, name)]
    several = [part for name in ("types", "item_types") for part in getattr(info, name, ())]
    return any(_has_bytes(part, within) for part in (*single, *several))
