"""What stands behind the ``?`` of a page's address: a name first, options after it.

``/showBuildLog?base/Debian-12/amd64&follow&offset=512``: the name is the percent-decoded text up to the first ``&``,
options follow as ``name=value`` or a bare ``name``. A ``+`` is a plus sign, since names may have one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import parse_qs, unquote

from twisted.web.server import Request

from imaginator.model.errors import InvalidRequest

MOST_FIELDS = 100
"""Fields of a form; those of every page are fewer."""


class Query(NamedTuple):
    """A page's name (empty where there is none) and its options; a bare option's value is empty.

    Bytes of a value that are no UTF-8 are kept as `os.fsdecode` keeps them, since paths may have them.
    """

    name: str
    options: Mapping[str, str]

    @property
    def follow(self) -> bool:
        """Whether a log is to be sent on while it grows."""
        return "follow" in self.options

    @property
    def offset(self) -> int:
        """Where in a log to begin, in bytes; raises `InvalidRequest` for anything but a whole number."""
        return self._bytes("offset", "0")

    @property
    def until(self) -> int:
        """Where in a log to end, in bytes; raises `InvalidRequest` as `offset` does."""
        return self._bytes("until", str(10**18 - 1))

    def _bytes(self, name: str, default: str) -> int:
        text = self.options.get(name, default)
        if not (text.isascii() and text.isdigit() and len(text) <= 18):
            raise InvalidRequest(f"{name} {text!r}: expected a number of bytes")
        return int(text)


def parse_query(uri: bytes) -> Query:
    """The query of a request's URI, which holds no control or non-ASCII byte that was not percent-encoded."""
    name, *options = uri.partition(b"?")[2].split(b"&")
    pairs = (option.partition(b"=") for option in options if option)
    return Query(_decoded(name), {_decoded(key): _decoded(value, "surrogateescape") for key, _, value in pairs})


def parse_form(uri: bytes) -> dict[str, str]:
    """The fields of a form that was sent as a query, the last of each name; raises `InvalidRequest` for too many."""
    return {name: values[-1] for name, values in all_fields(uri).items()}


def all_fields(uri: bytes) -> dict[str, list[str]]:
    """All of them, those of one name in their order."""
    return _fields(uri.partition(b"?")[2])


def form_fields(request: Request) -> dict[str, str]:
    """The fields of a form that was sent as a body."""
    body = request.content.read() if request.content else b""
    return {name: values[-1] for name, values in _fields(body).items()}


def _fields(data: bytes) -> dict[str, list[str]]:
    try:
        return parse_qs(data.decode("ascii", "replace"), errors="replace", max_num_fields=MOST_FIELDS)
    except ValueError:
        raise InvalidRequest(f"expected at most {MOST_FIELDS} fields") from None


def _decoded(text: bytes, errors: str = "replace") -> str:
    return unquote(text.decode("ascii", "replace"), errors=errors)
