"""What stands behind the ``?`` of a page's address: a name first, options after it.

``/showBuildLog?base/Debian-12/amd64&follow&offset=512``: the name is the percent-decoded text up to the first ``&``,
options follow as ``name=value`` or a bare ``name``. A ``+`` is a plus sign, since names may have one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote

from imaginator.model.errors import InvalidRequest


class Query(NamedTuple):
    """A page's name (empty where there is none) and its options; a bare option's value is empty."""

    name: str
    options: Mapping[str, str]

    @property
    def follow(self) -> bool:
        """Whether a log is to be sent on while it grows."""
        return "follow" in self.options

    @property
    def offset(self) -> int:
        """Where in a log to begin, in bytes; raises `InvalidRequest` for anything but a whole number."""
        text = self.options.get("offset", "0")
        if not (text.isascii() and text.isdigit() and len(text) <= 18):
            raise InvalidRequest(f"offset {text!r}: expected a number of bytes")
        return int(text)


def parse_query(uri: bytes) -> Query:
    """The query of a request's URI, which holds no control or non-ASCII byte that was not percent-encoded."""
    name, *options = uri.partition(b"?")[2].split(b"&")
    pairs = (option.partition(b"=") for option in options if option)
    return Query(_decoded(name), {_decoded(key): _decoded(value) for key, _, value in pairs})


def _decoded(text: bytes) -> str:
    return unquote(text.decode("ascii", "replace"), errors="replace")
