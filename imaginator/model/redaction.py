"""The one place that keeps secrets out of what people and programs get to read.

A secret is found in whatever way Git, Python or the daemon may print it: each of its characters as it is,
percent-encoded, or as JSON, HTML, Python, a shell or Git's own quoting escape it, in any mixture of these; and in
base64 at each of the three alignments. What is looked for is a regular expression of RE2, whose time does not grow with
the number of secrets.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple
from urllib.parse import unquote

import re2

SHORTEST_SECRET = 6
"""Characters. Shorter values are not replaced: they occur by chance, and replacing them would garble every text."""

FORMER = 1 << 16
"""Characters of values that are no longer in force and still are replaced."""

_LONGEST_CHARACTER = 28
"""Bytes of one character of four bytes in UTF-8, each percent-encoded three times."""

_BATCH = 2000
"""Characters of the values that one expression looks for: RE2 compiles no expression of any size."""

_MEMORY = 256 << 20
"""Bytes that RE2 may use for an expression and what it learns of it."""

_NAMED = {"&": b"amp", "<": b"lt", ">": b"gt", '"': b"quot", "'": b"apos"}
_LETTERS = {"\n": b"n", "\r": b"r", "\t": b"t", "\f": b"f", "\v": b"v", "\b": b"b", "\a": b"a"}
_USERINFO = re.compile(r"[a-z][a-z0-9+.-]*://(?P<userinfo>[^/@\s]+)@", re.IGNORECASE)


class Redactor:
    """Replaces the values of secrets by ``$NAME``; everything that shows something to somebody shares one.

    A value that it has learned stays known when it is not in force any more, since running builds still use it.
    """

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self._values: dict[str, str] = {}
        self._finder = _Finder({})
        self.learn(secrets)

    def learn(self, secrets: Mapping[str, str]) -> None:
        """Replace these values from now on, beside the former ones; may be called in any thread."""
        values = {value: name for name, value in secrets.items() if len(value) >= SHORTEST_SECRET}
        room = FORMER
        for value, name in self._values.items():
            room -= len(value)
            if value not in values and room >= 0:
                values[value] = name
        if list(values) != list(self._values):
            # In this order: what is found must have a name, also while another thread looks.
            self._values, self._finder = values, _Finder(values)

    def text(self, text: str) -> str:
        """``text`` without secrets."""
        if not self._values:
            return text
        data = text.encode(errors="surrogatepass")
        clean = self._finder.replaced(data)
        return text if clean is data else clean.decode(errors="surrogatepass")

    def settled(self, data: bytes) -> int:
        """How many bytes of ``data`` can be shown whatever follows it: no secret begins in them and ends after them."""
        return self._finder.settled(data)

    def bytes(self, data: bytes) -> bytes:
        """``data`` without secrets."""
        return self._finder.replaced(data)


class _Found(NamedTuple):
    start: int
    end: int
    name: bytes


class _Finder:
    """Finds values, which have names, in all their forms."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._longest = max(map(len, values), default=0) * _LONGEST_CHARACTER
        self._batches = [_Batch(batch) for batch in _batches(values)]

    def replaced(self, data: bytes) -> bytes:
        """``data`` itself where there is nothing to be replaced."""
        done, parts = 0, []
        for found in self._all(data):
            parts += [data[done : found.start], found.name]
            done = found.end
        return b"".join([*parts, data[done:]]) if parts else data

    def settled(self, data: bytes) -> int:
        cut = max(0, len(data) - self._longest)
        return next((found.start for found in self._all(data) if found.start < cut < found.end), cut)

    def _all(self, data: bytes) -> Iterator[_Found]:
        """What is found, from left to right; of values that overlap, the whole."""
        found = self._next(data, 0, len(data))
        while found is not None:
            found = self._widened(data, found)
            yield found
            found = self._next(data, found.end, len(data))

    def _widened(self, data: bytes, found: _Found) -> _Found:
        """``found`` with all values that begin within it and end after it."""
        inner: _Found | None = found
        while inner is not None:
            inner = self._next(data, inner.start + 1, found.end + self._longest)
            if inner is None or inner.start >= found.end:
                break
            if inner.end > found.end:
                found = _Found(found.start, inner.end, found.name + inner.name)
        return found

    def _next(self, data: bytes, start: int, end: int) -> _Found | None:
        """The first that is found between two places, and of those that begin there the longest."""
        found = (batch.search(data, start, end) for batch in self._batches)
        return min(filter(None, found), key=lambda one: (one.start, -one.end), default=None)


def _batches(values: Mapping[str, str]) -> Iterator[dict[str, str]]:
    batch: dict[str, str] = {}
    for value, name in values.items():
        if batch and sum(map(len, batch)) + len(value) > _BATCH:
            yield batch
            batch = {}
        batch[value] = name
    if batch:
        yield batch


class _Batch:
    """The values that one expression finds: a group a value."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._names = [b"$" + name.encode(errors="surrogatepass") for name in values.values()]
        self._expression = _compiled(b"|".join(b"(" + b"|".join(_forms(value)) + b")" for value in values))

    def search(self, data: bytes, start: int, end: int) -> _Found | None:
        match = self._expression.search(data, start, end)
        if match is None:
            return None
        number = next(at for at, group in enumerate(match.groups()) if group is not None)
        return _Found(match.start(), match.end(), self._names[number])


def _compiled(pattern: bytes) -> re2._Regexp:
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.longest_match = True
    options.max_mem = _MEMORY
    options.log_errors = False
    return re2.compile(pattern, options)


def _forms(value: str) -> Iterator[bytes]:
    """Patterns of the ways in which a secret may be printed."""
    for part in sorted({part for whole in (value, unquote(value)) for part in _parts(whole)}):
        yield b"".join(map(_character, part))
        yield from _base64(part.encode(errors="surrogatepass"))


def _parts(value: str) -> Iterator[str]:
    """A secret, and what of it may be printed alone: its lines, and the user and password of a URL."""
    userinfo = _USERINFO.match(value)
    pair = userinfo["userinfo"] if userinfo else value
    yield value
    for part in (*value.splitlines(), pair, *pair.split(":", 1)):
        if len(part) >= SHORTEST_SECRET and "://" not in part:
            yield part
            yield unquote(part)


def _character(character: str) -> bytes:
    """A pattern of one character of a secret."""
    return b"(?:" + b"|".join(_spellings(character)) + b")"


def _spellings(character: str) -> Iterator[bytes]:
    data = character.encode(errors="surrogatepass")
    yield re2.escape(data)
    yield b"".join(b"%(?:25){0,2}" + _hex(b"%02x" % byte) for byte in data)
    yield b"&(?:amp;)?#(?:0{0,6}%d|[xX]0{0,6}%b);" % (ord(character), _hex(b"%x" % ord(character)))
    if character.isascii() and character.isalnum():
        return
    escape = rb"\\{1,4}"
    yield escape + re2.escape(data)
    units = character.encode("utf-16-be", errors="surrogatepass")
    yield b"".join(escape + b"u" + _hex(units[at : at + 2].hex().encode()) for at in range(0, len(units), 2))
    yield b"".join(escape + b"x" + _hex(b"%02x" % byte) for byte in data)
    yield b"".join(escape + b"%03o" % byte for byte in data)
    yield escape + b"(?:x%b|U%b)" % (_hex(b"%02x" % ord(character)), _hex(b"%08x" % ord(character)))
    if character in _NAMED:
        yield b"&(?:amp;)?" + _NAMED[character] + b";"
    if character in _LETTERS:
        yield escape + _LETTERS[character]
    if character == "'":
        yield b"'(?:\"'\"|" + escape + b"')'"  # as a shell's words are quoted
    if character.isspace():
        yield rb"[\t-\r\x1c-\x20+]"


def _hex(digits: bytes) -> bytes:
    """A pattern of hexadecimal digits in either case."""
    return b"".join(b"[%c%c]" % (digit, digit - 32) if digit >= ord("a") else b"%c" % digit for digit in digits)


def _base64(data: bytes) -> Iterator[bytes]:
    """Patterns at each of the three alignments, less the ragged ends, of the usual alphabet and of that for URLs."""
    for lead in range(3):
        encoded = base64.b64encode(b"\0" * lead + data).decode().rstrip("=")
        start = (lead * 8 + 5) // 6
        end = (len(data) + lead) * 8 // 6
        if end - start >= SHORTEST_SECRET:
            yield b"".join(map(_digit, encoded[start:end]))


def _digit(digit: str) -> bytes:
    if digit == "+":
        return b"(?:-|" + _character(digit) + b")"
    if digit == "/":
        return b"(?:_|" + _character(digit) + b")"
    return digit.encode()
