"""Names of streams, images and builds: one validator each.

A stream is parts of ``[A-Za-z0-9][A-Za-z0-9._+:@~-]*`` joined by ``/``, at most 255 bytes. An image is its stream, a
``/`` and a date stamp in UTC. A build is a ULID (https://github.com/ulid/spec): 26 characters of Crockford's base 32,
of which the first ten are the milliseconds since 1970, so that ids sort by time.
"""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime, timedelta
from functools import reduce

from imaginator.model.errors import InvalidRequest

STAMP_FORMAT = "%Y-%m-%d:%H:%M:%S"
LONGEST_NAME = 255
_LONGEST_SHOWN = 80

_STREAM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+:@~-]*(?:/[A-Za-z0-9][A-Za-z0-9._+:@~-]*)*")
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_BUILD = re.compile(rf"[0-7][{_ALPHABET}]{{25}}")


def check_stream_name(name: str) -> str:
    """Return ``name`` if it can name a stream; raise `InvalidRequest` otherwise."""
    if len(name) > LONGEST_NAME:
        raise InvalidRequest(f"stream name of {len(name)} characters: at most {LONGEST_NAME} are allowed")
    if not _STREAM.fullmatch(name):
        raise InvalidRequest(
            f"stream name {_shown(name)}: expected parts of letters, digits and ._+:@~- joined by /,"
            " each beginning with a letter or digit"
        )
    return name


def check_image_name(name: str) -> str:
    """Return ``name`` if it is a stream and a date stamp; raise `InvalidRequest` otherwise."""
    stream, _, stamp = name.rpartition("/")
    if not _is_stamp(stamp):
        raise InvalidRequest(f"image name {_shown(name)}: expected STREAM/YYYY-MM-DD:HH:MM:SS")
    check_stream_name(stream)
    return name


def check_foreign_name(name: str) -> str:
    """Return ``name`` if an image that others have made can be called so: its directory, and a part that is its own."""
    if "/" not in name:
        raise InvalidRequest(f"image name {_shown(name)}: expected DIRECTORY/NAME")
    return check_stream_name(name)


def check_build_id(name: str) -> str:
    """Return ``name`` if it is a build id; raise `InvalidRequest` otherwise."""
    if not is_build_id(name):
        raise InvalidRequest(f"build id {_shown(name)}: expected the 26 characters of a ULID")
    return name


def is_build_id(name: str) -> bool:
    """Whether ``name`` can be a build's id."""
    return _BUILD.fullmatch(name) is not None


def _is_stamp(text: str) -> bool:
    """Whether a date stamp is written in the one way that it has: strptime(3) takes others."""
    try:
        return datetime.strptime(text, STAMP_FORMAT).strftime(STAMP_FORMAT) == text
    except ValueError:
        return False


def _shown(name: str) -> str:
    """A wrong name, for people, without its end where it is long."""
    return ascii(name if len(name) <= _LONGEST_SHOWN else f"{name[:_LONGEST_SHOWN]}...")


def stream_of(image_name: str) -> str:
    """The stream that an image belongs to."""
    return image_name.rpartition("/")[0]


def image_name(stream: str, now: datetime, latest: str | None) -> str:
    """Name a new image of ``stream``: stamped now, or a second after ``latest`` where that is not earlier.

    A ``latest`` that others have named has no stamp.
    """
    stamp = now.astimezone(UTC).replace(microsecond=0)
    if latest is not None and _is_stamp(latest.rpartition("/")[2]):
        after = datetime.strptime(latest.rpartition("/")[2], STAMP_FORMAT).replace(tzinfo=UTC)
        stamp = max(stamp, after + timedelta(seconds=1))
    return f"{stream}/{stamp.strftime(STAMP_FORMAT)}"


def new_build_id(now: datetime, last: str = "") -> str:
    """A fresh ULID for a build submitted ``now``; it sorts after the ``last`` one, whatever the clock says."""
    fresh = (int(now.timestamp() * 1000) << 80) | secrets.randbits(80)
    number = max(fresh, _number(last) + 1)
    return "".join(_ALPHABET[(number >> shift) & 31] for shift in range(125, -5, -5))


def _number(build_id: str) -> int:
    return reduce(lambda number, letter: number << 5 | _ALPHABET.index(letter), build_id, 0)
