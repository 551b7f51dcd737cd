"""Values that a JSON schema allows, for as much of schemas as the description of the methods uses.

(hypothesis-jsonschema 0.23 does not run with today's hypothesis.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

Schema = Mapping[str, Any]

LARGEST = 2**63


def values(schema: Schema, components: Mapping[str, Schema]) -> st.SearchStrategy[Any]:
    """Whatever is allowed; raises ``KeyError`` for a kind of schema that is not known here."""
    if "$ref" in schema:
        return values(components[schema["$ref"].rpartition("/")[2]], components)
    if "anyOf" in schema:
        return st.one_of([values(one, components) for one in schema["anyOf"]])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if schema.get("format") == "date-time":
        return st.datetimes().map(lambda time: f"{time.isoformat()}Z")
    return KINDS[schema["type"]](schema, components)


def objects(schema: Schema, components: Mapping[str, Schema]) -> st.SearchStrategy[Any]:
    """Objects with known fields, or with any names."""
    fields = {name: values(one, components) for name, one in schema.get("properties", {}).items()}
    required = {name: one for name, one in fields.items() if name in schema.get("required", ())}
    optional = {name: one for name, one in fields.items() if name not in required}
    known = st.fixed_dictionaries(required, optional=optional)
    others = schema.get("additionalProperties")
    if not isinstance(others, Mapping):
        return known
    more = st.dictionaries(st.text(), values(others, components), max_size=5)
    return st.builds(lambda some, fixed: {**some, **fixed}, more, known)


def arrays(schema: Schema, components: Mapping[str, Schema]) -> st.SearchStrategy[Any]:
    """A few items."""
    return st.lists(values(schema["items"], components), max_size=5)


def numbers(schema: Schema, _components: Mapping[str, Schema]) -> st.SearchStrategy[Any]:
    """Any number that JSON has."""
    found = st.floats(allow_nan=False, allow_infinity=False, min_value=schema.get("minimum"))
    return found | integers(schema, {})


def integers(schema: Schema, _components: Mapping[str, Schema]) -> st.SearchStrategy[Any]:
    """Whole numbers between the bounds."""
    return st.integers(schema.get("minimum", -LARGEST), schema.get("maximum", LARGEST))


def strings(schema: Schema, _components: Mapping[str, Schema]) -> st.SearchStrategy[Any]:
    """Texts."""
    return st.text(max_size=schema.get("maxLength"))


KINDS = {
    "object": objects,
    "array": arrays,
    "number": numbers,
    "integer": integers,
    "string": strings,
    "boolean": lambda _schema, _components: st.booleans(),
    "null": lambda _schema, _components: st.none(),
}
