"""The page of the operations for programs: what each does, for whom, and what it takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from twisted.web.server import Request

from imaginator.model.errors import NotFound
from imaginator.web.view import View

_WORDS = {"string": "text", "number": "number", "integer": "whole number", "boolean": "true or false"}


class Parameter(NamedTuple):
    """A parameter of a method; ``kind`` is for people."""

    name: str
    kind: str
    required: bool


class Operation(NamedTuple):
    """A method: what it does, and who may call it."""

    name: str
    does: str
    access: str
    parameters: Sequence[Parameter]


class ReferencePage(View):
    """The page at ``/showMethods``."""

    async def show(self, request: Request) -> bytes:
        """Every method."""
        if self._parts.reference is None:
            raise NotFound("RPC is not served here")
        return self.page(request, "methods.html", methods=operations(self._parts.reference()))


def operations(document: Mapping[str, Any]) -> list[Operation]:
    """The methods of an OpenRPC document."""
    return [
        Operation(
            method["name"],
            method["summary"],
            method["description"],
            [Parameter(each["name"], kind_of(each["schema"]), each["required"]) for each in method["params"]],
        )
        for method in document["methods"]
    ]


def kind_of(schema: Mapping[str, Any]) -> str:
    """What a JSON schema takes, in a few words."""
    match schema:
        case {"anyOf": [*kinds]}:
            return " or ".join(kind_of(kind) for kind in kinds if kind.get("type") != "null")
        case {"$ref": str(place)}:
            return place.rpartition("/")[2]
        case {"type": "array", "items": items}:
            return f"list of {kind_of(items)}"
        case {"type": "object", "additionalProperties": dict(values)}:
            return f"names with {kind_of(values)}"
        case {"type": "string", "format": "date-time"}:
            return "time"
        case {"type": str(kind)}:
            return _WORDS.get(kind, kind)
    return "any value"
