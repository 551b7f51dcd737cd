"""Headers of members of a tar archive in the PAX format, as bytes.

A header of POSIX.1-2017 (pax, "ustar Interchange Format") has room for what most files are. What it cannot hold goes
before it, in records of an extended header: names that are long or not ASCII, large numbers, times with nanoseconds or
before 1970, extended attributes as ``SCHILY.xattr.NAME``, and of a sparse file its name and size. Written here rather
than by ``tarfile``, whose bytes these are, since that takes ten times as long.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from functools import lru_cache

from imaginator.model.tree import Inode, Kind

UNIT = 512
"""Every header, and the content after it, takes a multiple of this many bytes."""

Record = tuple[bytes, bytes]
"""Keyword and value."""

_SECOND = 10**9
_NAME = 100
_OWNERS = 8**7
"""The first owner that its seven octal digits cannot hold."""
_SIZES = 8**11
"""The first size or time that its eleven octal digits cannot hold."""
_BASE_256 = 1 << 95
"""Marks a number in base 256, an extension that every tar knows."""

_MAGIC = b"ustar\x0000"
_LINK = b"1"
_EXTENDED = b"x"
_DEVICES = frozenset({b"3", b"4"})
_TYPES = {
    Kind.DIRECTORY: b"5",
    Kind.REGULAR: b"0",
    Kind.SYMLINK: b"2",
    Kind.CHARACTER: b"3",
    Kind.BLOCK: b"4",
    Kind.FIFO: b"6",
    Kind.COMPUTED: b"0",
}
_NAMES = frozenset({b"path", b"linkpath", b"GNU.sparse.name"})


def header(path: bytes, inode: Inode) -> bytes:
    """What goes before the content of a member, which is named ``./path``; a directory's name ends with a slash.

    A file without an object is an empty one.
    """
    target = inode.target if inode.kind is Kind.SYMLINK else b""
    return _member(_name(path, inode), _TYPES[inode.kind], inode, inode.size if inode.object else 0, target)


def link_header(path: bytes, inode: Inode, first: bytes) -> bytes:
    """A member that is another name of the file at ``first``; it has no content."""
    return _member(_name(path, inode), _LINK, inode, 0, b"." + first)


def sparse_header(path: bytes, inode: Inode, ranges: Sequence[tuple[int, int]]) -> bytes:
    """What goes before the data of a sparse file, of which ``ranges`` (start and end) are not holes.

    PAX format 1.0 of GNU tar ("Storing Sparse Files" in its manual): the content begins with a map.
    """
    table = _map(ranges, inode.size)
    stored = len(table) + sum(end - start for start, end in ranges)
    sparse = [
        (b"GNU.sparse.major", b"1"),
        (b"GNU.sparse.minor", b"0"),
        (b"GNU.sparse.name", b"." + path),
        (b"GNU.sparse.realsize", b"%d" % inode.size),
    ]
    # This name is for a tar that knows no sparse files, and will unpack the map with the data.
    own = _ustar(b"./GNUSparseFile.0" + path, _TYPES[inode.kind], inode, stored, b"")
    return _extended(sparse + _records(b"", b"", 0, inode)) + own + table


def padded(content: bytes) -> bytes:
    """Content as it stands in an archive."""
    return content + bytes(-len(content) % UNIT)


def _map(ranges: Sequence[tuple[int, int]], size: int) -> bytes:
    """The number of ranges, then offset and length of each; a hole at the end shows as a range of no bytes."""
    shown = [(start, end - start) for start, end in ranges]
    if not ranges or ranges[-1][1] != size:
        shown.append((size, 0))
    return padded(b"%d\n" % len(shown) + b"".join([b"%d\n%d\n" % place for place in shown]))


def _name(path: bytes, inode: Inode) -> bytes:
    return b".%b/" % path.rstrip(b"/") if inode.kind is Kind.DIRECTORY else b"." + path


def _member(name: bytes, kind: bytes, inode: Inode, size: int, target: bytes) -> bytes:
    records = _records(name, target, size, inode)
    own = _ustar(name, kind, inode, size if size < _SIZES else 0, target)
    return _extended(records) + own if records else own


def _records(name: bytes, target: bytes, size: int, inode: Inode) -> list[Record]:
    """What does not fit into the header proper."""
    found = [(b"SCHILY.xattr." + _keyword(key), value) for key, value in inode.attributes] if inode.attributes else []
    if inode.mtime % _SECOND or not 0 <= inode.mtime < _SIZES * _SECOND:
        found.append((b"mtime", _decimal(inode.mtime)))
    if not _fits(name):
        found.append((b"path", name))
    if not _fits(target):
        found.append((b"linkpath", target))
    for keyword, number, limit in ((b"uid", inode.uid, _OWNERS), (b"gid", inode.gid, _OWNERS), (b"size", size, _SIZES)):
        if number >= limit:
            found.append((keyword, b"%d" % number))
    return found


def _keyword(attribute: bytes) -> bytes:
    """An attribute's name without the character that ends a keyword, written as GNU tar does."""
    return attribute.replace(b"%", b"%25").replace(b"=", b"%3D")


def _fits(name: bytes) -> bool:
    return len(name) <= _NAME and name.isascii()


def _decimal(nanoseconds: int) -> bytes:
    sign, (seconds, rest) = b"-" if nanoseconds < 0 else b"", divmod(abs(nanoseconds), _SECOND)
    return b"%b%d.%09d" % (sign, seconds, rest) if rest else b"%b%d" % (sign, seconds)


def _extended(records: Sequence[Record]) -> bytes:
    """The member whose content are records about the member after it."""
    # Of names that are not UTF-8, libarchive wants to be told; of attributes, which are bytes anyway, nobody does.
    binary = not all(_is_text(value) for keyword, value in records if keyword in _NAMES)
    lines = [(b"hdrcharset", b"BINARY"), *records] if binary else records
    content = b"".join([_line(*record) for record in lines])
    return _extension(len(content)) + padded(content)


def _is_text(name: bytes) -> bool:
    try:
        name.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _line(keyword: bytes, value: bytes) -> bytes:
    """A record, which begins with its own length, whose digits count too."""
    rest = len(keyword) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %b=%b\n" % (length, keyword, value)


@lru_cache(64)
def _extension(size: int) -> bytes:
    """The header proper of an extended header."""
    return _ustar(b"././@PaxHeader", _EXTENDED, Inode(Kind.REGULAR, 0), size, b"")


def _ustar(name: bytes, kind: bytes, inode: Inode, size: int, target: bytes) -> bytes:
    """The header proper; a name that does not fit is cut off, a number is 0."""
    seconds = inode.mtime // _SECOND
    begin = b"%b%07o\0%07o\0%07o\0%b%011o\0" % (
        name.ljust(_NAME, b"\0") if _fits(name) else _cut(name),
        inode.mode,
        inode.uid if inode.uid < _OWNERS else 0,
        inode.gid if inode.gid < _OWNERS else 0,
        b"%011o\0" % size if size < _SIZES else (_BASE_256 | size).to_bytes(12, "big"),
        seconds if 0 <= seconds < _SIZES else 0,
    )
    total, end = _end(kind, target, inode.device)
    # Adler-32's low half is one plus the sum of the bytes, modulo a prime that so few bytes do not reach.
    return b"%b%06o\0 %b" % (begin, (zlib.adler32(begin) & 0xFFFF) - 1 + total, end)


@lru_cache(64)
def _end(kind: bytes, target: bytes, device: int) -> tuple[int, bytes]:
    """What comes after the checksum, and what it adds to the checksum, which itself counts as eight spaces."""
    numbers = b"%07o\0%07o\0" % (os.major(device), os.minor(device)) if kind in _DEVICES else b""
    end = (kind + _cut(target) + _MAGIC + bytes(64) + numbers).ljust(UNIT - 156, b"\0")
    return sum(end) + sum(b" " * 8), end


def _cut(name: bytes) -> bytes:
    """As much of a name as its field holds, in ASCII."""
    return name.decode("utf-8", "surrogateescape").encode("ascii", "replace")[:_NAME].ljust(_NAME, b"\0")
