"""The one place that keeps secrets out of what people and programs get to read."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from urllib.parse import quote, quote_plus

SHORTEST_SECRET = 6
"""Shorter values are not replaced: they occur by chance, and replacing them would garble every text."""


_URL_SAFE = str.maketrans("+/", "-_")


class Redactor:
    """Replaces the values of secrets by ``$NAME``: as they are, percent-encoded, in JSON, and in base64."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self._names = {
            form: f"${name}"
            for name, value in secrets.items()
            if len(value) >= SHORTEST_SECRET
            for form in _forms(value)
        }
        longest_first = sorted(self._names, key=len, reverse=True)
        self._text = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None
        self._bytes_names = {form.encode(): name.encode() for form, name in self._names.items()}
        self._bytes = re.compile(b"|".join(re.escape(form.encode()) for form in longest_first))

    def text(self, text: str) -> str:
        """``text`` without secrets."""
        return self._text.sub(lambda found: self._names[found[0]], text) if self._text else text

    def bytes(self, data: bytes) -> bytes:
        """``data`` without secrets."""
        return self._bytes.sub(lambda found: self._bytes_names[found[0]], data) if self._text else data


def _forms(value: str) -> Iterator[str]:
    """The ways in which a secret may be printed; base64 at each of the three alignments, less its ragged ends."""
    yield value
    yield quote(value, safe="")
    yield quote(value)
    yield quote_plus(value)
    yield json.dumps(value)[1:-1]
    data = value.encode()
    for lead in range(3):
        encoded = base64.b64encode(b"\0" * lead + data).decode().rstrip("=")
        start = (lead * 8 + 5) // 6
        end = (len(data) + lead) * 8 // 6
        if end - start >= SHORTEST_SECRET:
            yield encoded[start:end]
            yield encoded[start:end].translate(_URL_SAFE)
