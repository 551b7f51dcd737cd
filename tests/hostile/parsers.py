"""Every parser of what comes from outside, and what it may raise: for fuzzing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from imaginator.build.gathering import entries
from imaginator.build.packager import parse_list, parse_multiplier
from imaginator.build.references import parse_references
from imaginator.model.destinations import parse_destinations
from imaginator.model.durations import parse_duration, parse_share, parse_size
from imaginator.model.errors import ImaginatorError
from imaginator.model.flags import flag_lines
from imaginator.model.giturl import check_branch, check_url, passwords, repository_file, without_password
from imaginator.model.manifest import decode_source_image
from imaginator.model.names import check_build_id, check_image_name, check_stream_name
from imaginator.model.variables import expand
from imaginator.rpc.der import decode_strings, encode_strings
from imaginator.rpc.faults import Fault
from imaginator.rpc.jsonrpc import decode_message
from imaginator.srpc.decoding import Decoder
from imaginator.srpc.errors import BadGob
from imaginator.srpc.jsoncoding import JsonDecoder
from imaginator.srpc.messages import AddImageRequest, BuildImageRequest
from imaginator.srpc.reading import Limits
from imaginator.store.arriving import arrived
from imaginator.web.queries import parse_query
from tests.hostile.entries import JSON, LINES
from tests.hostile.verdict import outcome

VARIABLES = {"IMAGE_STREAM": "base/web/amd64", "ARCH": "amd64"}


class Parser(NamedTuple):
    """``work`` takes any bytes; besides errors for users it may raise ``expected`` alone."""

    work: Callable[[bytes], Any]
    seeds: tuple[bytes, ...]
    expected: tuple[type[Exception], ...] = ()

    def __call__(self, data: bytes) -> None:
        """Parse; whatever else is raised is a fault."""
        with contextlib.suppress(*self.expected):
            outcome(lambda: self.work(data))


def _of_text(work: Callable[[str], Any], *seeds: str, expected: tuple[type[Exception], ...] = ()) -> Parser:
    return Parser(lambda data: work(data.decode(errors="surrogateescape")), tuple(map(str.encode, seeds)), expected)


def _git_url(text: str) -> None:
    without_password(text)
    passwords(text)
    repository_file(text)
    check_url(text, "u")


def _gob(data: bytes) -> object:
    """An image to be added, read from a stream and made one of ours."""
    decoder = Decoder(Limits(message=1 << 20, value=1 << 20, elements=10_000))
    decoder.feed(data)
    request = decoder.next(AddImageRequest)
    if isinstance(request, AddImageRequest) and request.image is not None:
        return arrived("a/b", request.image)
    return request


def _line_of_json(data: bytes) -> object:
    decoder = JsonDecoder()
    decoder.feed(data + b"\n")
    return decoder.next(BuildImageRequest)


def _recorded(scene: str, side: str, before: bytes) -> bytes:
    """What follows certain bytes in a recorded conversation."""
    return (RECORDINGS / f"{scene}.{side}.bin").read_bytes().partition(before)[2]


RECORDINGS = Path(__file__).parents[1] / "srpc" / "recordings"

PARSERS: dict[str, Parser] = {
    **{name: Parser(entry.decode, (entry.text,)) for name, entry in {**JSON, **LINES}.items()},
    "expansion": _of_text(lambda text: expand(text, VARIABLES), "$A${B}${IMAGE_STREAM[/1:-1]}$$${", "(|/.*)$"),
    "stream name": _of_text(check_stream_name, "base/Debian-12/amd64"),
    "image name": _of_text(check_image_name, "base/web/2026-11-22:23:38:05"),
    "build id": _of_text(check_build_id, "01ARZ3NDEKTSV4RRFFQ69G5FAV"),
    "Git URL": _of_text(_git_url, "https://u:p@h/m.git/f", "git@h:m.git", "ssh://h:22/m", "file:///m.git/x"),
    "Git branch": _of_text(lambda text: check_branch(text, "u"), "feature/x-1"),
    "source image": Parser(lambda data: decode_source_image(data, "f"), (b'{"SourceImage": "base/$ARCH"}',)),
    "Git tree": Parser(lambda data: list(entries(data, 20)), (b"100644 manifest\0" + b"1" * 20,)),
    "Git references": Parser(parse_references, (b"ref: refs/heads/main\tHEAD\n" + b"0" * 40 + b"\tHEAD\n",)),
    "duration": _of_text(parse_duration, "1h30m", "90s", "30d", expected=(ValueError,)),
    "size": _of_text(parse_size, "2GiB", "100M", expected=(ValueError,)),
    "share": _of_text(lambda text: parse_share(text, 1 << 40), "5%", "5G", expected=(ValueError,)),
    "destinations": _of_text(
        parse_destinations, "any,10.0.0.0/8:443", "[2001:db8::1]:80,host:3142", expected=(ValueError,)
    ),
    "flags": _of_text(lambda text: list(flag_lines(text)), "a=b\n# c\n; d\nimageServerHostname = x\n"),
    "packages": Parser(lambda data: parse_list(data, 1024), (b"vim 1.0 12\nless 2\n",)),
    "multiplier": Parser(parse_multiplier, (b"1024\n",)),
    "names in certificates": Parser(decode_strings, (encode_strings(["eng", "ops"]),), (ValueError,)),
    "JSON-RPC": Parser(decode_message, (b'{"jsonrpc": "2.0", "method": "m", "params": {}, "id": 1}',), (Fault,)),
    "gob": Parser(_gob, (_recorded("addimage-tiny", "c2s", b"ImageServer.AddImage\n"),), (BadGob,)),
    "JSON of SRPC": Parser(
        _line_of_json, (b'{"StreamName": "a", "Variables": {"A": "b"}, "ExpiresIn": 5}',), (BadGob,)
    ),
    "query": Parser(parse_query, (b"/showImage?base/web%2f2026&diff=x&y",), (ImaginatorError,)),
}
