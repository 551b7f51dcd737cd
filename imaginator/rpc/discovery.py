"""The methods as a document for programs: OpenRPC 1.3 (https://spec.open-rpc.org), with JSON schemas.

Made from the table's own types, so that it says what is decoded and encoded, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from imaginator import __version__

if TYPE_CHECKING:
    from imaginator.rpc.methods import Method

OPENRPC = "1.3.2"

_REFERENCE = "#/components/schemas/{name}"


def openrpc(methods: Sequence[Method]) -> dict[str, object]:
    """The document that describes ``methods``, in JSON values."""
    kinds = [kind for method in methods for kind in (method.request, method.result)]
    schemas, components = _schemas(kinds)
    pairs = zip(schemas[::2], schemas[1::2], strict=True)
    return {
        "openrpc": OPENRPC,
        "info": {"title": "imaginator", "version": __version__},
        "methods": [_described(method, result) for method, (_, result) in zip(methods, pairs, strict=True)],
        "components": {"schemas": _plain(components)},
    }


def _described(method: Method, result: dict[str, Any]) -> dict[str, object]:
    return {
        "name": method.name,
        "summary": method.help,
        "description": f"For {method.access.value}.",
        "paramStructure": "by-name",
        "params": list(_parameters(method.request)),
        "result": {"name": "result", "schema": _plain(result)},
    }


def _parameters(request: type[msgspec.Struct]) -> Iterator[dict[str, object]]:
    fields: Iterable[msgspec.structs.FieldInfo] = msgspec.structs.fields(request)
    for field in fields:
        (schema,), _ = _schemas([field.type])
        yield {"name": field.encode_name, "required": field.required, "schema": _plain(schema)}


def _schemas(kinds: Iterable[object]) -> tuple[tuple[dict[str, Any], ...], dict[str, Any]]:
    return msgspec.json.schema_components(kinds, schema_hook=_of_any_value, ref_template=_REFERENCE)


def _of_any_value(kind: type) -> dict[str, Any]:
    """The schema of a type that JSON schemas do not know: of ``object``, which is any value."""
    if kind is not object:
        raise NotImplementedError  # msgspec's word for: this hook knows no more of it than you
    return {"description": "any value"}


def _plain(schema: Any) -> Any:
    """A schema as answers are: bytes are text there (`imaginator.model.codec.to_plain`), not base64."""
    if isinstance(schema, dict):
        return {name: _plain(value) for name, value in schema.items() if name != "contentEncoding"}
    if isinstance(schema, list):
        return [_plain(value) for value in schema]
    return schema
