"""The two ways in which values go over a connection: gob, and lines of JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from imaginator.srpc.decoding import Decoder
from imaginator.srpc.definitions import Registry
from imaginator.srpc.encoding import Encoder
from imaginator.srpc.jsoncoding import JsonDecoder, JsonEncoder
from imaginator.srpc.reading import Limits
from imaginator.srpc.unread import Unread


class Writing(Protocol):
    """Makes bytes of the values of one stream."""

    def encode(self, value: object, hint: Any = None) -> bytes:
        """The bytes that say a value."""


class Reading(Protocol):
    """Makes values of the bytes of one stream (see `imaginator.srpc.decoding.Decoder`)."""

    @property
    def pending(self) -> int:
        """Bytes that no value was made of yet."""

    @property
    def ready(self) -> bool:
        """Whether asking for a value can lead further than last time."""

    def wants(self, unread: Unread) -> int:
        """How many bytes of what has come to feed next; 0 where more has to come first."""

    def feed(self, data: bytes) -> None:
        """Take bytes as they have come."""

    def next(self, hint: Any) -> Any:
        """The next value; raises `BadGob`."""


class Coder(NamedTuple):
    """Makes what writes and reads the values of one call; a connection has one registry of Go's types."""

    writing: Callable[[Registry], Writing]
    reading: Callable[[Limits], Reading]


GOB = Coder(Encoder, Decoder)
JSON = Coder(lambda _: JsonEncoder(), JsonDecoder)
