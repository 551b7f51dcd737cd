"""Secrets: gone in every form in which they are printed."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote, quote_plus

from hypothesis import given
from hypothesis import strategies as st

from imaginator.model.redaction import Redactor

secrets = st.text(st.characters(exclude_categories=["Cs"]), min_size=6, max_size=30)


@given(secrets)
def test_no_form_of_a_secret_remains(secret: str) -> None:
    """Plain, percent-encoded and JSON forms become the variable's name, in text and in bytes."""
    redactor = Redactor({"T": secret})
    for form in (secret, quote(secret), quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1]):
        assert redactor.text(form) == "$T"
        assert redactor.bytes(form.encode()) == b"$T"


@given(st.binary(max_size=5), st.binary(max_size=5))
def test_base64_is_found_at_every_alignment(before: bytes, after: bytes) -> None:
    """What surrounds the secret in the encoded bytes does not hide it."""
    secret = "hunter2-hunter2"
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        assert b"$T" in Redactor({"T": secret}).bytes(encode(before + secret.encode() + after))


def test_the_longest_secret_wins_and_short_ones_stay() -> None:
    """A secret within another does not split it; short values would garble every text."""
    redactor = Redactor({"A": "secret", "B": "secret-long", "C": "a"})

    assert redactor.text("a secret-long secret") == "a $B $A"
    assert Redactor({}).bytes(b"as it is") == b"as it is"
