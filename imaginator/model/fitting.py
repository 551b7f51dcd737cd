"""Fitting the bare values of a JSON file into the types that they are meant to be, all that does not fit told of.

What msgspec's own conversion does not do: names of fields that match regardless of case (exact spelling wins), every
problem at once, each with its path, and what is good of a table kept beside what is not. As in the original, null is
the same as leaving a field out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

from msgspec import inspect

from imaginator.model.places import Path

DEEPEST = 64
"""How many objects and arrays may lie in one another."""

LARGEST_NUMBER = 2**53
"""Beyond it not every program that reads JSON has the same number: RFC 8259, section 6."""

SHOWN = 40
"""Characters of a wrong word that are told at most."""

WRONG: Any = object()
"""Stands for a value that does not fit."""

Tell = Callable[[Path, str], None]


class Doubled(dict[str, Any]):
    """An object of a JSON file that has some of its keys twice; their last values count."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.doubled = [key for key, times in Counter(key for key, _ in pairs).items() if times > 1]


def from_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """For ``object_pairs_hook``: a dictionary that remembers keys which are there twice."""
    table = dict(pairs)
    return table if len(table) == len(pairs) else Doubled(pairs)


class Fitting:
    """Fits values; ``wrong`` is told of what does not fit, ``doubtful`` of what is ignored."""

    def __init__(self, wrong: Tell, doubtful: Tell) -> None:
        self._wrong = wrong
        self._doubtful = doubtful

    def fit(self, value: Any, kind: inspect.Type, path: Path = ()) -> Any:
        """``value`` as ``kind`` has it, or `WRONG`."""
        if len(path) > DEEPEST:
            return self._refuse(path, f"nested deeper than {DEEPEST}")
        if isinstance(value, Doubled):
            for key in value.doubled:
                self._doubtful((*path, key), "is there more than once: the last one counts")
        if isinstance(kind, inspect.UnionType):
            kind = next(one for one in kind.types if not isinstance(one, inspect.NoneType))
        fit_kind = _FITS.get(type(kind))
        return fit_kind(self, value, kind, path) if fit_kind else self._leaf(value, kind, path)

    def _struct(self, value: Any, kind: inspect.StructType, path: Path) -> Any:
        if not isinstance(value, dict):
            return self._misfit(path, "an object", value)
        fields = _fields(kind.cls)
        values = {}
        for key, item in value.items():
            name = key if key in fields.by_name else fields.by_folded.get(key.lower())
            if name is None:
                self._doubtful((*path, key), "unknown field is ignored")
            elif item is not None and (name == key or name not in value):
                field = fields.by_name[name]
                fitted = self.fit(item, field.type, (*path, name))
                if fitted is not WRONG or field.required:
                    values[field.name] = fitted
        return self._make(kind.cls, fields, values, path)

    def _make(self, make: Callable[..., Any], fields: _Fields, values: dict[str, Any], path: Path) -> Any:
        missing = [field.encode_name for field in fields.required if field.name not in values]
        for name in missing:
            self._wrong(path, f"missing required field {name}")
        if missing or any(value is WRONG for value in values.values()):
            return WRONG
        try:
            return make(**values)
        except ValueError as error:
            return self._refuse(path, str(error))

    def _table(self, value: Any, kind: inspect.DictType, path: Path) -> Any:
        if not isinstance(value, dict):
            return self._misfit(path, "an object", value)
        fitted = {}
        for key, item in value.items():
            good = self._leaf(key, kind.key_type, (*path, key))
            one = self.fit(item, kind.value_type, (*path, key))
            if good is not WRONG and one is not WRONG:
                fitted[key] = one
        return fitted

    def _array(self, value: Any, kind: inspect.VarTupleType, path: Path) -> Any:
        if not isinstance(value, list):
            return self._misfit(path, "an array", value)
        items = (self.fit(item, kind.item_type, (*path, at)) for at, item in enumerate(value))
        return tuple(item for item in items if item is not WRONG)

    def _choice(self, value: Any, kind: inspect.EnumType, path: Path) -> Any:
        choices = [member.value for member in kind.cls]
        if value not in choices:
            shown = repr(value[:SHOWN]) if isinstance(value, str) else _WORDS.get(type(value), "an object")
            return self._refuse(path, f"expected {' or '.join(choices)}, got {shown}")
        return kind.cls(value)

    def _leaf(self, value: Any, kind: inspect.Type, path: Path) -> Any:
        leaf = _LEAVES[type(kind)]
        if not isinstance(value, leaf.types) or (isinstance(value, bool) and bool not in leaf.types):
            return self._misfit(path, leaf.words, value)
        if isinstance(value, str) and (problem := _fault_of_text(value)):
            return self._refuse(path, problem)
        if isinstance(value, int | float) and not abs(value) <= LARGEST_NUMBER:
            return self._refuse(path, "too large a number")
        return value

    def _misfit(self, path: Path, expected: str, value: Any) -> Any:
        return self._refuse(path, f"expected {expected}, got {_WORDS.get(type(value), 'an object')}")

    def _refuse(self, path: Path, words: str) -> Any:
        self._wrong(path, words)
        return WRONG


def _fault_of_text(text: str) -> str:
    if "\0" in text:
        return "holds a NUL character"
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        return "holds half a surrogate pair: no character"
    return ""


class _Fields(NamedTuple):
    by_name: Mapping[str, inspect.Field]
    by_folded: Mapping[str, str]
    required: tuple[inspect.Field, ...]


@cache
def _fields(kind: type) -> _Fields:
    """The fields of a struct, by the names that they have in files."""
    fields = {field.encode_name: field for field in _info(kind).fields}
    required = tuple(field for field in fields.values() if field.required)
    return _Fields(fields, {name.lower(): name for name in fields}, required)


def _info(kind: type) -> inspect.StructType:
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)
    return info


class _Leaf(NamedTuple):
    types: tuple[type, ...]
    words: str


_LEAVES: dict[type[inspect.Type], _Leaf] = {
    inspect.StrType: _Leaf((str,), "a string"),
    inspect.BoolType: _Leaf((bool,), "true or false"),
    inspect.IntType: _Leaf((int,), "a whole number"),
    inspect.FloatType: _Leaf((int, float), "a number"),
}
_WORDS = {
    str: "a string", bool: "true or false", int: "a number", float: "a number", list: "an array", type(None): "null",
}  # fmt: skip
_FITS: dict[type[inspect.Type], Callable[..., Any]] = {
    inspect.StructType: Fitting._struct,
    inspect.DictType: Fitting._table,
    inspect.VarTupleType: Fitting._array,
    inspect.EnumType: Fitting._choice,
}
