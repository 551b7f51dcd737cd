"""Conversations that programs of the existing ecosystem had: understood, and said in the same bytes."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from imaginator.srpc import messages
from imaginator.srpc.decoding import NOTHING_YET, Decoder
from imaginator.srpc.definitions import Registry
from imaginator.srpc.encoding import Encoder
from imaginator.srpc.filesystem import DirectoryInode, RegularInode, SpecialInode, SymlinkInode

RECORDINGS = Path(__file__).with_name("recordings")
REQUEST, ANSWER = b"CONNECT /_goSRPC_/ HTTP/1.0\n\n", b"HTTP/1.0 200 Connected to Go SRPC\n\n"
TINY = {11: "one", 18: "two", 30: "passwd"}
"""The three objects of the image ``tiny/v1``: what is in each, in bytes, and a name of the file."""


class Conversation:
    """What one side said; read from the front."""

    def __init__(self, name: str, side: str, greeting: bytes) -> None:
        said = (RECORDINGS / f"{name}.{side}.bin").read_bytes()
        assert said.startswith(greeting)
        self.left = said.removeprefix(greeting)
        self._registry = Registry()

    def line(self) -> str:
        """The next line."""
        line, _, self.left = self.left.partition(b"\n")
        return line.decode()

    def data(self, count: int) -> bytes:
        """The next bytes, outside of gob."""
        data, self.left = self.left[:count], self.left[count:]
        return data

    def values(self, *kinds: Any, raw: bool = False, same: bool = True) -> list[Any]:
        """Values of one stream, ``same`` if saying them again gives the same bytes.

        With ``raw`` each is followed by as many bytes as it says.
        """
        decoder, encoder = Decoder(), Encoder(self._registry)
        found = []
        for kind in kinds:
            whole = self.left
            decoder.feed(whole)
            found.append(decoder.next(kind))
            self.left = decoder.rest()
            said = whole.removesuffix(self.left)
            again = encoder.encode(found[-1])
            assert not same or said == again
            if raw:
                content = self.data(found[-1].length)
                assert hashlib.sha512(content).digest() == (found[-1].expected_hash or hashlib.sha512(b"").digest())
        return found


def client(name: str) -> Conversation:
    """What the client said."""
    return Conversation(name, "c2s", REQUEST)


def server(name: str) -> Conversation:
    """What the server said."""
    return Conversation(name, "s2c", ANSWER)


def test_an_image_is_added() -> None:
    """It is asked for, its objects are sent, then it: a tree with a hard link, an empty file, a device and a link."""
    said = client("addimage-tiny")

    assert "ImageServer.CheckImage" == said.line()
    assert [messages.CheckImageRequest("tiny/v1")] == said.values(messages.CheckImageRequest)
    assert "ObjectServer.AddObjects" == said.line()
    sent = said.values(*[messages.AddObjectRequest] * 4, raw=True)
    assert [*TINY, 0] == sorted((one.length for one in sent), key=lambda length: length or 99)
    assert "ImageServer.AddImage" == said.line()
    (request,) = said.values(messages.AddImageRequest)
    assert b"" == said.left
    check_tiny(request.image)


def check_tiny(image: Any) -> None:
    """The image that two recordings have."""
    tree = image.file_system
    names = {entry.name: tree.inode_table[entry.inode_number] for one in directories(tree) for entry in one.entry_list}
    assert {"/tmp/.*"} == {*image.filter.filter_lines}
    assert [["/etc/one"]] == [trigger.match_lines for trigger in image.triggers.triggers]
    assert names["one"] is names["one-hardlink"]
    assert TINY == {names[name].size: name for name in TINY.values()}
    assert RegularInode(names["empty"].mode, 0, 0, 0, names["empty"].mtime_seconds) == names["empty"]
    assert SymlinkInode(symlink="one") == names["sym"]
    assert isinstance(names["nullb"], SpecialInode)
    assert {"etc", "usr", "bin", "nullb"} <= {*names}


def directories(tree: Any) -> list[DirectoryInode]:
    """The root and all others."""
    return [tree.directory_inode, *(one for one in tree.inode_table.values() if isinstance(one, DirectoryInode))]


def test_what_the_server_says_to_it() -> None:
    """No such image yet; each object is new; it is added."""
    said = server("addimage-tiny")

    assert ["", ""] == [said.line(), said.line()]
    assert [messages.CheckImageResponse()] == said.values(messages.CheckImageResponse, same=False)
    assert "" == said.line()
    added = said.values(*[messages.AddObjectResponse] * 3, same=False)
    assert ["", ""] == [said.line(), said.line()]
    assert [messages.AddImageResponse()] == said.values(messages.AddImageResponse, same=False)
    assert b"" == said.left
    assert 3 == len({one.hash for one in added})
    assert {("", False), ("", True)} >= {(one.error_string, one.added) for one in added}


def test_objects_are_fetched() -> None:
    """An image, then the objects that it is made of, which are what their hashes say."""
    asked, said = client("getobjects-tiny"), server("getobjects-tiny")

    assert "ImageServer.GetImage" == asked.line()
    assert [messages.GetImageRequest("tiny/v1")] == asked.values(messages.GetImageRequest)
    assert "ObjectServer.GetObjects" == asked.line()
    (wanted,) = asked.values(messages.GetObjectsRequest)
    assert ["", ""] == [said.line(), said.line()]
    (answer,) = said.values(messages.GetImageResponse, same=False)
    check_tiny(answer.image)
    assert "" == said.line()
    (sizes,) = said.values(messages.GetObjectsResponse, same=False)
    assert wanted.hashes == [hashlib.sha512(said.data(size)).digest() for size in sizes.object_sizes]
    assert b"" == said.left


@pytest.mark.parametrize(
    ("name", "method", "request_", "response"),
    [
        ("mkdir", "ImageServer.MakeDirectory", messages.MakeDirectoryRequest("tiny"), messages.MakeDirectoryResponse()),
        (
            "addimage-duplicate",
            "ImageServer.CheckImage",
            messages.CheckImageRequest("tiny/v1"),
            messages.CheckImageResponse(image_exists=True),
        ),
        (
            "findlatest-tiny",
            "ImageServer.FindLatestImage",
            messages.FindLatestImageRequest(directory_name="tiny"),
            messages.FindLatestImageResponse(image_name="tiny/v1"),
        ),
        (
            "findlatest",
            "ImageServer.FindLatestImage",
            messages.FindLatestImageRequest(directory_name="tiny"),
            messages.FindLatestImageResponse(),
        ),
        (
            "getimage-missing",
            "ImageServer.GetImage",
            None,
            messages.GetImageResponse(),
        ),
        ("getimage-tiny", "ImageServer.GetImage", messages.GetImageRequest("tiny/v1"), None),
        ("findlatest-unknowndir", "ImageServer.FindLatestImage", None, None),
        ("getdependencies", "Imaginator.GetDependencies", messages.GetDependenciesRequest(), None),
        ("builderror", "Imaginator.BuildImage", None, None),
    ],
)
def test_a_call(name: str, method: str, request_: Any, response: Any) -> None:
    """A request says again in the same bytes what it said, and the answer is of its type."""
    asked, said = client(name), server(name)
    kind = getattr(messages, f"{method.partition('.')[2]}Request")

    assert method == asked.line()
    (question,) = asked.values(kind)
    assert ["", ""] == [said.line(), said.line()]
    (answer,) = said.values(getattr(messages, f"{method.partition('.')[2]}Response"), same=False)
    assert b"" == asked.left == said.left
    assert request_ in (None, question)
    assert response in (None, answer)
    assert question != answer


def test_what_the_imaginator_says() -> None:
    """Sources by stream; why a build failed."""
    said, failed = server("getdependencies"), server("builderror")
    (said.line(), said.line(), failed.line(), failed.line())
    (known,) = said.values(messages.GetDependenciesResponse, same=False)
    (answer,) = failed.values(messages.BuildImageResponse, same=False)

    assert "bootstrap/Debian-12/amd64" == known.get_dependencies_result.stream_to_source["base/trivial"]
    assert known.get_dependencies_result.fetch_log.startswith(b"Cumulative fetch time")
    assert "no/such" in answer.error_string


def test_lists_are_lines() -> None:
    """Names of images, up to an empty line; then a ping, and what is said to an unknown method."""
    asked, said = client("listimages-raw"), server("listimages-raw")

    assert ["ImageServer.ListImages", "", "Nope.X", "ImageServer.Nope"] == [asked.line() for _ in range(4)]
    assert "" == said.line()
    names = list(iter(said.line, ""))
    assert len(names) > 20
    assert "" == said.line()
    assert ["Nope" in said.line(), "Nope" in said.line()] == [True, True]


@pytest.mark.parametrize("step", [1, 3, 64])
def test_it_comes_in_pieces(step: int) -> None:
    """However they are cut, the value is there with the last byte."""
    said = server("getimage-tiny")
    (said.line(), said.line())
    decoder = Decoder()
    found = []
    for start in range(0, len(said.left), step):
        decoder.feed(said.left[start : start + step])
        found.append(decoder.next(messages.GetImageResponse))

    assert {True} == {one is NOTHING_YET for one in found[:-1]}
    check_tiny(found[-1].image)
