"""Secrets: gone in every form in which they are printed."""

from __future__ import annotations

import base64
import html
import json
import re
import shlex
import string
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imaginator.model.redaction import Redactor

NASTY = "p/w+o@r%d&\"<\\ e't"
"""Something of everything that one encoding or another writes differently."""

secrets = st.text(st.characters(exclude_categories=["Cs"]), min_size=6, max_size=30)


def utf8(write: Callable[[int], str]) -> Callable[[str], str]:
    """A character's bytes in UTF-8, each as ``write`` has it."""
    return lambda character: "".join(map(write, character.encode()))


SPELLINGS: dict[str, Callable[[str], str]] = {
    "as it is": lambda character: character,
    "percent-encoded": utf8(lambda byte: f"%{byte:02X}"),
    "percent-encoded in lower case": utf8(lambda byte: f"%{byte:02x}"),
    "percent-encoded twice": utf8(lambda byte: f"%25{byte:02X}"),
    "as in a path of a URL": quote,
    "as in a form": quote_plus,
    "as in JSON": lambda character: json.dumps(character)[1:-1],
    "as in JSON's UTF-8": lambda character: json.dumps(character, ensure_ascii=False)[1:-1],
    "as in JSON in JSON": lambda character: json.dumps(json.dumps(character)[1:-1])[1:-1],
    "as in HTML": html.escape,
    "as in HTML twice": lambda character: html.escape(html.escape(character)),
    "as a number in HTML": lambda character: f"&#{ord(character)};",
    "as Python writes it": lambda character: ascii(character)[1:-1],
    "as Python writes bytes": lambda character: repr(character.encode())[2:-1],
    "as Git quotes it": utf8(lambda byte: chr(byte) if 32 < byte < 127 and chr(byte) not in '"\\' else f"\\{byte:03o}"),
    "as a shell quotes it": lambda character: shlex.quote(f" {character}")[2:-1],
}


@settings(max_examples=40)
@given(secrets, st.data())
def test_any_mixture_of_spellings_is_found(secret: str, data: st.DataObject) -> None:
    """Each character may be printed as it is or in any encoding: nobody must encode all of a secret, or one way."""
    spell = st.sampled_from(sorted(SPELLINGS))
    printed = "".join(SPELLINGS[data.draw(spell)](character) for character in secret)

    assert Redactor({"T": secret}).text(printed) == "$T"


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("secret", [NASTY, "naïve€pass𝄞", "two\nlines of\tit", ".*+?[a-z](b|c){2}$^"])
def test_spelled_one_way_it_is_found(spelling: str, secret: str) -> None:
    """Every spelling alone, in text and in bytes, with something around it."""
    printed = "".join(map(SPELLINGS[spelling], secret))
    redactor = Redactor({"T": secret})

    assert redactor.text(f"<{printed}>") == "<$T>"
    assert redactor.bytes(f"<{printed}>".encode()) == b"<$T>"


@settings(max_examples=40)
@given(
    st.sampled_from([base64.b64encode, base64.urlsafe_b64encode]), st.binary(max_size=9), secrets, st.binary(max_size=9)
)
def test_base64_is_found_at_every_alignment(
    encode: Callable[[bytes], bytes], before: bytes, secret: str, after: bytes
) -> None:
    """What surrounds the secret in the encoded bytes does not hide it; at most its ends stay, less than a byte each."""
    printed = encode(before + secret.encode() + after)
    shown = Redactor({"T": secret}).bytes(printed)

    assert b"$T" in shown
    assert len(shown) <= len(printed) - len(secret.encode()) * 8 // 6 + 4


def test_basic_authorisation_is_found() -> None:
    """User and password of a URL, as they go over the wire; whichever of the two is the secret."""
    for secret in (NASTY, f"bot:{NASTY}"):
        header = b"Basic " + base64.b64encode(f"bot:{NASTY}".encode())

        assert b"$T" in Redactor({"T": secret}).bytes(header)
        assert base64.b64encode(f"bot:{NASTY}".encode())[8:-8] not in Redactor({"T": secret}).bytes(header)


def test_what_git_decodes_is_found() -> None:
    """A secret written for a URL, percent-encoded, is found as Git decodes it, and encodes it again."""
    redactor = Redactor({"T": quote(NASTY, safe="")})

    assert redactor.text(f"password for 'http://bot:{NASTY}@host'") == "password for 'http://bot:$T@host'"
    assert redactor.text(quote(NASTY, safe="/").lower()) == "$T"


def test_parts_of_a_secret_are_found() -> None:
    """A secret that is a whole URL, a user with a password, or of several lines, may be printed in parts."""
    redactor = Redactor({"U": "https://robot:correct%20horse@host/x", "P": "user:password", "K": "first line\nsecond"})

    assert redactor.text("correct horse, robot:correct horse") == "$U, $U"
    assert redactor.text("password") == "$P"
    assert redactor.text("key: second") == "key: $K"


def test_the_longest_secret_wins_and_short_ones_stay() -> None:
    """A secret within another does not split it; short values would garble every text."""
    redactor = Redactor({"A": "secret", "B": "secret-long", "C": "a"})

    assert redactor.text("a secret-long secret") == "a $B $A"
    assert Redactor({}).bytes(b"as it is") == b"as it is"


def test_secrets_that_overlap_leave_no_rest() -> None:
    """Where one secret's end is another one's beginning, both go."""
    redactor = Redactor({"A": "abcdefgh", "B": "efghijkl", "C": "ijklmnop"})

    assert redactor.text("<abcdefghijklmnop>") == "<$A$B$C>"


def test_a_common_word_is_replaced_wherever_it_stands() -> None:
    """Who makes a word of six letters a secret sees it nowhere any more."""
    assert Redactor({"T": "update"}).text("apt-get update") == "apt-get $T"


def test_a_former_value_stays_hidden() -> None:
    """A secret that changed or went away is still used by what runs, and stands in what was not written yet."""
    redactor = Redactor({"T": "first-value", "GONE": "going-away"})
    redactor.learn({"T": "second-value"})

    assert redactor.text("first-value second-value going-away") == "$T $T $GONE"


def test_former_values_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest are forgotten; the newest always are known."""
    monkeypatch.setattr("imaginator.model.redaction.FORMER", 100)
    redactor = Redactor({})
    for number in range(20):
        redactor.learn({"T": f"{number:08}"})

    assert redactor.text("00000019 00000018") == "$T $T"
    assert redactor.text("00000000") == "00000000"


def test_long_secrets_are_found_among_many() -> None:
    """A secret of the greatest length, and a hundred others, which more than one expression looks for."""
    names = {f"N{number}": f"{number:032}/" for number in range(100)}
    redactor = Redactor({**names, "LONG": "x~" * 2048})

    assert redactor.text(f"{7:032}%2F, {'x~' * 2048}, {99:032}/") == "$N7, $LONG, $N99"


@settings(max_examples=40)
@given(secrets, st.lists(st.integers(0, 200)))
def test_what_is_settled_never_tears_a_secret(secret: str, cuts: list[int]) -> None:
    """A stream that is shown as far as it is settled shows what the whole would."""
    whole = f"before {secret} between {quote(secret)} after".encode() * 3
    redactor = Redactor({"T": secret})
    shown, waiting = b"", b""
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(whole)], strict=True):
        waiting += whole[start:end]
        settled = redactor.settled(waiting)
        shown, waiting = shown + redactor.bytes(waiting[:settled]), waiting[settled:]

    assert shown + redactor.bytes(waiting) == redactor.bytes(whole)


@settings(max_examples=40)
@given(st.text(st.characters(codec="utf-8"), max_size=60) | st.text(alphabet=st.characters(), max_size=9))
def test_other_text_stays_as_it_is(text: str) -> None:
    """Whatever the text is, half of a surrogate pair too."""
    assert Redactor({"T": "s3cret-" + "\U0010ffff"}).text(text) == text


@settings(max_examples=40)
@given(st.text(string.printable, max_size=200))
def test_every_expression_compiles(secret: str) -> None:
    """No secret is so strange that nothing can be redacted any more."""
    assert not re.search(r"s3cr3t", Redactor({"T": secret, "U": "s3cr3t"}).text("s3cr3t"))
