"""What is answered is redacted string by string, and not touched where there is nothing to hide."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from imaginator.model.redaction import Redactor
from imaginator.rpc.operations import redacted, redacted_json

REDACTOR = Redactor({"TOKEN": "correct-horse"})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a correct-horse", "a $TOKEN"),
        ({"correct-horse": [1, None, {"x": "correct-horse"}]}, {"$TOKEN": [1, None, {"x": "$TOKEN"}]}),
        (("x", "correct%2Dhorse"), ["x", "$TOKEN"]),
    ],
)
def test_every_string(value: Any, expected: Any) -> None:
    """Names, values, however deep."""
    assert expected == redacted(value, REDACTOR.text)


@pytest.mark.parametrize("value", [["correct-", "horse"], {"correct-": "horse"}, {"a": [1, 2.5, True, None]}, [], ""])
def test_nothing_to_hide(value: Any) -> None:
    """The answer is what it was, also where strings beside each other would make a secret."""
    assert value == redacted(value, REDACTOR.text)


@pytest.mark.parametrize(
    "secret", ["correct-horse", 'cor"rect\\horse', "correct\nhorse", "corréct\u2028\x01\x7fhorse", "correct</horse>"]
)
def test_json_text(secret: str) -> None:
    """A secret is found however JSON writes it; a text without one is the very same."""
    redact = Redactor({"TOKEN": secret}).text
    clean = msgspec.json.encode({"a": ["x\n", 1.5, None]})
    dirty = msgspec.json.encode({"a": [f"x {secret}\n"], secret: None})

    assert clean is redacted_json(clean, redact)
    assert {"a": ["x $TOKEN\n"], "$TOKEN": None} == msgspec.json.decode(redacted_json(dirty, redact))
