"""Values as lines of JSON, as Go's programs say and understand them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imaginator.srpc import messages as said
from imaginator.srpc.decoding import NOTHING_YET
from imaginator.srpc.errors import BadGob
from imaginator.srpc.filesystem import FileSystem, Image, RegularInode
from imaginator.srpc.jsoncoding import JsonDecoder, JsonEncoder
from imaginator.srpc.kinds import Message, Moment
from imaginator.srpc.reading import Limits
from imaginator.srpc.unread import Unread
from tests.srpc.test_gob import ALL, whole

TREELESS = [one for one in ALL if not any(name in one.__name__ for name in ("AddImage", "GetImageR", "BuildImageR"))]
"""Those without inodes, whose types get lost."""


def read(line: bytes, kind: Any) -> Any:
    """The value that a line is."""
    decoder = JsonDecoder()
    decoder.feed(line)
    return decoder.next(kind)


def normal(value: Any) -> Any:
    """A value whose times are such as texts can say: years of four digits."""
    if isinstance(value, Moment):
        within = 0 <= value.seconds < 1 << 36 and value.offset is None
        return value if within else None
    if isinstance(value, Message):
        fields = {name: normal(getattr(value, name)) for name in value.__struct_fields__}
        return type(value)(**fields)
    return value


@settings(max_examples=100)
@given(st.sampled_from(TREELESS).flatmap(whole), st.integers(1, 50))
def test_there_and_back(value: Message, step: int) -> None:
    """What is said is what is understood, however the line is cut."""
    value = normal(value)
    decoder, line, found = JsonDecoder(), JsonEncoder().encode(value) + b"rest", NOTHING_YET
    for start in range(0, len(line), step):
        decoder.feed(line[start : start + step])
        if found is NOTHING_YET:
            found = decoder.next(type(value))

    assert value == found
    assert b"rest" == decoder.rest()


def test_as_go_says_it() -> None:
    """Embedded fields stand with the others, no time is the year 1, bytes are base64, a hash is hexadecimal."""
    known = said.GetDependenciesResult(fetch_log=b"\x00\xff", generated_at=Moment(0, 5_000_000))
    plain = json.loads(JsonEncoder().encode(said.GetDependenciesResponse(known)))
    asked = json.loads(JsonEncoder().encode(said.CheckObjectsRequest([bytes(64)])))

    assert ("AP8=", "1970-01-01T00:00:00.005Z", "0001-01-01T00:00:00Z", "") == (
        plain["FetchLog"],
        plain["GeneratedAt"],
        plain["LastAttemptAt"],
        plain["Error"],
    )
    assert ["00" * 64] == asked["Hashes"]


def test_an_image_with_inodes() -> None:
    """It can be said; its inodes have no types there, so that it cannot be understood."""
    tree = FileSystem(inode_table={1: RegularInode(size=1)})
    line = JsonEncoder().encode(said.GetImageResponse(Image(file_system=tree)))

    assert 1 == json.loads(line)["Image"]["FileSystem"]["InodeTable"]["1"]["Size"]
    with pytest.raises(BadGob, match="a value whose type JSON does not tell"):
        read(line, said.GetImageResponse)


def test_null_is_as_declared() -> None:
    """Go says null for lists and tables that have nothing."""
    line = b'{"Variables": null, "Excludes": null, "Unknown": 3}\n'

    assert said.BuildImageRequest() == read(line, said.BuildImageRequest)
    assert said.GetDirectedGraphRequest() == read(line, said.GetDirectedGraphRequest)


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (b"{\n", said.CheckImageRequest),
        (b'{"ImageName": "\x80"}\n', said.CheckImageRequest),
        (b'\x80{"ImageName": ""}\n', said.CheckImageRequest),
        (b"[1]\n", said.CheckImageRequest),
        (b'{"ImageName": 5}\n', said.CheckImageRequest),
        (b'{"MaxAge": 18446744073709551616}\n', said.GetDependenciesRequest),
        (b'{"MaxAge": true}\n', said.GetDependenciesRequest),
        (b'{"Hashes": ["00"]}\n', said.CheckObjectsRequest),
        (b'{"Hashes": "00"}\n', said.CheckObjectsRequest),
        (b'{"ExpiresAt": "yesterday"}\n', said.ChangeImageExpirationRequest),
        (b'{"ExpiresAt": "2026-13-01T00:00:00Z"}\n', said.ChangeImageExpirationRequest),
        (b'{"BuildLog": "%"}\n', said.BuildImageResponse),
        (b"[" * 100_000 + b"\n", said.CheckImageRequest),
    ],
)
def test_what_is_none(line: bytes, kind: Any) -> None:
    """One sentence each."""
    with pytest.raises(BadGob):
        read(line, kind)


def test_a_line_without_end() -> None:
    """It is given up at the limit of a message."""
    decoder = JsonDecoder(Limits(message=100))
    decoder.feed(b" " * 101)

    with pytest.raises(BadGob, match="a line of more than 100 bytes"):
        decoder.wants(Unread())
