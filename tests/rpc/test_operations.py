"""What is answered is redacted string by string, and not touched where there is nothing to hide."""

from __future__ import annotations

from typing import Any

import pytest

from imaginator.model.redaction import Redactor
from imaginator.rpc.operations import redacted

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
