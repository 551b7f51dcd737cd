"""Values as Go's ``encoding/json`` has them, a line each; interfaces lose which of their types a value is of."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from imaginator.srpc.decoding import NOTHING_YET
from imaginator.srpc.errors import BadGob
from imaginator.srpc.kinds import BOOL, BYTES, FLOAT, INT, STRING, UINT, Field, Kind, Message, Moment, bounds, fields
from imaginator.srpc.kinds import kind as kind_of
from imaginator.srpc.reading import Limits
from imaginator.srpc.unread import Unread

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NEVER = "0001-01-01T00:00:00Z"
"""Go's time that is none."""
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)")
_NATIVE: dict[int, type] = {BOOL: bool, INT: int, UINT: int, FLOAT: float, STRING: str}


class JsonEncoder:
    """Says values as lines."""

    def encode(self, value: object, hint: Any = None) -> bytes:
        """The line of a value."""
        return msgspec.json.encode(_plain(value, kind_of(type(value) if hint is None else hint))) + b"\n"


class JsonDecoder:
    """Understands lines, which come in pieces."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._data = bytearray()

    @property
    def pending(self) -> int:
        """Bytes that no value was made of yet."""
        return len(self._data)

    @property
    def ready(self) -> bool:
        """Whether there is a line."""
        return self._data.endswith(b"\n")

    def wants(self, unread: Unread) -> int:
        """How many bytes of what has come to feed next, none beyond the line; raises `BadGob` for one without end."""
        if len(self._data) > self._limits.message:
            raise BadGob(f"a line of more than {self._limits.message} bytes")
        return unread.until(b"\n") or len(unread)

    def feed(self, data: bytes) -> None:
        """Take bytes as they have come."""
        self._data += data

    def next(self, hint: Any) -> Any:
        """The next value; raises `BadGob`."""
        line, end, rest = self._data.partition(b"\n")
        if not end:
            return NOTHING_YET
        self._data = rest
        try:
            return _value(msgspec.json.decode(line), kind_of(hint))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadGob(f"no JSON: {error}") from None

    def rest(self) -> bytes:
        """What has come after the last value."""
        rest = bytes(self._data)
        self._data.clear()
        return rest


def _plain(value: Any, kind: Kind) -> Any:
    """A value of a kind as JSON's values."""
    if isinstance(value, Message):
        return dict(_members(value))
    if kind.moment:
        return _time_text(value)
    if isinstance(value, bytes):
        return value.hex() if kind.length >= 0 else b64encode(value).decode()
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    if isinstance(value, dict):
        assert kind.element is not None
        return {str(key): _plain(item, kind.element) for key, item in value.items()}
    if isinstance(value, list):
        assert kind.element is not None
        return [_plain(item, kind.element) for item in value]
    return value


def _members(message: Message) -> list[tuple[str, Any]]:
    """The fields of a message by name, those of embedded ones as its own."""
    found: list[tuple[str, Any]] = []
    for field in fields(type(message)):
        value = getattr(message, field.attribute)
        if _is_embedded(field):
            found += _members(value)
        elif value is None:
            found.append((field.name, _NEVER if field.kind.moment else None))
        else:
            found.append((field.name, _plain(value, field.kind)))
    return found


def _is_embedded(field: Field) -> bool:
    """Whether a struct has no name of its own in Go: it is called as its type is."""
    return field.kind.message is not None and field.name == field.kind.name and not field.pointer


def _value(plain: Any, kind: Kind) -> Any:
    """JSON's values as a value of a kind; raises `BadGob`."""
    if kind.message is not None:
        return _message(_a(dict, plain), kind.message)
    if kind.moment:
        return _moment(_a(str, plain))
    if kind.element is not None and kind.length >= 0:
        return _octets(_a(str, plain), kind.length)
    if kind.basic == BYTES:
        return _octets_of_base64(_a(str, plain))
    if kind.key is not None and kind.element is not None:
        pairs = _a(dict, plain).items()
        return {_key(key, kind.key): _value({} if item is None else item, kind.element) for key, item in pairs}
    if kind.element is not None:
        return [_value(item, kind.element) for item in _a(list, plain)]
    if kind.basic not in _NATIVE:
        raise BadGob("a value whose type JSON does not tell")
    return _number(_a(_NATIVE[kind.basic], plain), kind)


def _message(plain: dict[str, Any], message: type[Message]) -> Message:
    found = {}
    for field in fields(message):
        if _is_embedded(field):
            assert field.kind.message is not None
            found[field.attribute] = _message(plain, field.kind.message)
        elif (value := plain.get(field.name)) is not None and not (field.kind.moment and value == _NEVER):
            found[field.attribute] = _value(value, field.kind)
    return message(**found)


def _a(wanted: type, plain: Any) -> Any:
    if wanted is float and type(plain) is int:
        return float(plain)
    if type(plain) is not wanted:
        raise BadGob(f"a {type(plain).__name__} where a {wanted.__name__} was expected")
    return plain


def _number(value: Any, kind: Kind) -> Any:
    if kind.basic in (INT, UINT):
        low, high = bounds(kind)
        if not low <= value < high:
            raise BadGob(f"{value} where a number of {kind.bits} bits was expected")
    return value


def _key(text: str, kind: Kind) -> Any:
    if kind.basic == STRING:
        return text
    try:
        return _number(int(text), kind)
    except ValueError:
        raise BadGob(f"{text!r} where a number was expected") from None


def _octets(text: str, length: int) -> bytes:
    try:
        data = bytes.fromhex(text)
    except ValueError:
        data = b""
    if len(data) != length:
        raise BadGob(f"{text[:20]!r} where {length} bytes in hexadecimal were expected")
    return data


def _octets_of_base64(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except ValueError as error:
        raise BadGob(f"no base64: {error}") from None


def _time_text(moment: Moment) -> str:
    """RFC 3339, with as many digits of a second as it takes; a time that no such text has is none."""
    offset = timedelta(minutes=moment.offset or 0)
    try:
        time = _EPOCH + timedelta(seconds=moment.seconds) + offset
    except OverflowError:
        return _NEVER
    digits = f".{moment.nanoseconds:09}".rstrip("0").rstrip(".")
    sign, minutes = ("-", -offset) if offset < timedelta(0) else ("+", offset)
    zone = f"{sign}{minutes.seconds // 3600:02}:{minutes.seconds // 60 % 60:02}" if offset else "Z"
    return f"{time:%Y-%m-%dT%H:%M:%S}{digits}{zone}".rjust(len(_NEVER), "0")


def _moment(text: str) -> Moment:
    found = _TIME.fullmatch(text)
    if found is None:
        raise BadGob(f"{text!r} where a time was expected")
    whole, digits, zone = found.groups()
    try:
        since = datetime.fromisoformat(f"{whole}{zone.replace('Z', '+00:00')}") - _EPOCH
    except (ValueError, OverflowError):
        raise BadGob(f"{text!r} where a time was expected") from None
    offset = None if zone == "Z" else (int(zone[1:3]) * 60 + int(zone[4:])) * (-1 if zone[0] == "-" else 1)
    return Moment(since.days * 86400 + since.seconds, int((digits or "").ljust(9, "0")), offset)
