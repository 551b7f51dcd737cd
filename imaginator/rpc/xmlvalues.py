"""JSON values as XML-RPC's response: what `xmlrpc.client.dumps` would write of them, in a third of the time.

Whole numbers beyond 31 bits are doubles, what is null is absent, and characters that XML cannot carry are U+FFFD.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

LARGEST_INTEGER = 2**31 - 1

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What is no Char of XML 1.0, section 2.2."""

_UNUSUAL = re.compile("[^\t\n\r\x20-%'-;=?-~]")
"""What may have to be written otherwise: most texts have none of it."""

NAMES = 1000
"""Names of members that are written as they were before: those of structures come again and again."""

_BEGIN = "<?xml version='1.0'?>\n<methodResponse>\n<params>\n<param>\n"
_END = "</param>\n</params>\n</methodResponse>\n"


def response(value: Any) -> bytes:
    """The answer to a call whose result is ``value``, which is not null."""
    parts = [_BEGIN]
    _write(value, parts.append)
    parts.append(_END)
    return "".join(parts).encode()


def readable(text: str) -> str:
    """Text without what XML cannot carry."""
    # Whatever can be printed is a Char; to look for the others takes longer.
    return text if text.isprintable() else _NOT_XML.sub("\ufffd", text)


def _write(value: Any, write: Callable[[str], None]) -> None:
    kind = type(value)
    if kind is str:
        write(f"<value><string>{_escaped(value)}</string></value>\n")
    elif kind is dict:
        write("<value><struct>\n")
        for name, item in value.items():
            if item is not None:
                write(_begin_of_member(name))
                _write(item, write)
                write("</member>\n")
        write("</struct></value>\n")
    elif kind is list:
        write("<value><array><data>\n")
        for item in value:
            if item is not None:
                _write(item, write)
        write("</data></array></value>\n")
    else:
        write(_number(value))


@lru_cache(NAMES)
def _begin_of_member(name: str) -> str:
    return f"<member>\n<name>{_escaped(name)}</name>\n"


def _number(value: float) -> str:
    if isinstance(value, bool):
        return f"<value><boolean>{value:d}</boolean></value>\n"
    if isinstance(value, int) and abs(value) <= LARGEST_INTEGER:
        return f"<value><int>{value}</int></value>\n"
    return f"<value><double>{float(value)!r}</double></value>\n"


def _escaped(text: str) -> str:
    if not _UNUSUAL.search(text):
        return text
    return readable(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
