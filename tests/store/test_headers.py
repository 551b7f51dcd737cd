"""Headers of tar members, against Python's own tarfile."""

from __future__ import annotations

import io
import os
import tarfile

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from imaginator.model.tree import Inode, Kind
from imaginator.store.headers import header, link_header, sparse_header

SECOND = 10**9
TYPES = {
    Kind.DIRECTORY: tarfile.DIRTYPE,
    Kind.REGULAR: tarfile.REGTYPE,
    Kind.SYMLINK: tarfile.SYMTYPE,
    Kind.CHARACTER: tarfile.CHRTYPE,
    Kind.BLOCK: tarfile.BLKTYPE,
    Kind.FIFO: tarfile.FIFOTYPE,
    Kind.COMPUTED: tarfile.REGTYPE,
}
FILE = Inode(Kind.REGULAR, 0o644, size=5, object=b"digest")

names = st.binary(min_size=1, max_size=120).map(lambda name: name.replace(b"/", b"").replace(b"\0", b"") or b"x")
ids = st.integers(0, 2**32 - 2) | st.sampled_from([8**7 - 1, 8**7])
times = st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 8**11).map(lambda seconds: seconds * SECOND)
sizes = st.integers(1, 2**63 - 1) | st.sampled_from([8**11 - 1, 8**11])
keywords = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20).map(
    lambda name: f"user.{name}".encode()
)
attributes = st.lists(st.tuples(keywords, st.binary(max_size=70)), max_size=2, unique_by=lambda pair: pair[0]).map(
    tuple
)


@st.composite
def inodes(draw: st.DrawFn) -> Inode:
    """An inode of any kind, as a build may leave it."""
    kind = draw(st.sampled_from(Kind))
    inode = Inode(kind, draw(st.integers(0, 0o7777)), draw(ids), draw(ids), draw(times), attributes=draw(attributes))
    match kind:
        case Kind.REGULAR:
            return replace(inode, size=draw(sizes), object=b"digest")
        case Kind.SYMLINK:
            return replace(inode, target=draw(names))
        case Kind.CHARACTER | Kind.BLOCK:
            return replace(inode, device=os.makedev(draw(st.integers(0, 4095)), draw(st.integers(0, 2**20 - 1))))
    return inode


def text(name: bytes) -> str:
    """Bytes as tarfile takes them."""
    return name.decode("utf-8", "surrogateescape")


def reference(path: bytes, inode: Inode) -> bytes:
    """The header that tarfile writes."""
    member = tarfile.TarInfo(text(b"." + path))
    member.type, member.size = TYPES[inode.kind], inode.size
    member.mode, member.uid, member.gid = inode.mode, inode.uid, inode.gid
    member.linkname = text(inode.target) if inode.kind is Kind.SYMLINK else ""
    member.devmajor, member.devminor = os.major(inode.device), os.minor(inode.device)
    member.mtime = inode.mtime // SECOND
    records = {f"SCHILY.xattr.{keyword(name)}": text(value) for name, value in inode.attributes}
    if inode.mtime % SECOND or not 0 <= member.mtime < 8**11:
        records["mtime"] = decimal(inode.mtime)
    member.pax_headers = records
    return member.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def keyword(name: bytes) -> str:
    """An attribute's name as GNU tar writes it."""
    return text(name).replace("%", "%25").replace("=", "%3D")


def decimal(nanoseconds: int) -> str:
    """Seconds with nine decimals, or none."""
    sign, (seconds, rest) = "-" if nanoseconds < 0 else "", divmod(abs(nanoseconds), SECOND)
    return f"{sign}{seconds}.{rest:09}" if rest else f"{sign}{seconds}"


def parsed(data: bytes) -> tarfile.TarInfo:
    """What tarfile reads of a header whose content need not follow."""
    with tarfile.open(fileobj=io.BytesIO(data + bytes(1024)), mode="r|", errors="surrogateescape") as archive:
        member = archive.next()
    assert member is not None
    return member


def is_text(value: bytes) -> bool:
    """Whether a value is UTF-8."""
    try:
        return bool(value.decode("utf-8") or True)
    except UnicodeDecodeError:
        return False


@given(names, inodes())
@example(b"x" * 98, FILE)
@example(b"x" * 99, FILE)
@example("ü".encode(), replace(FILE, mtime=-1))
def test_headers_are_those_of_tarfile(name: bytes, inode: Inode) -> None:
    """Byte for byte, but that ``hdrcharset`` is said of names only: GNU tar warns of every record it does not know."""
    data, expected = header(b"/" + name, inode), reference(b"/" + name, inode)

    if b"hdrcharset" in expected and is_text(name + b" " + inode.target):
        ours, theirs = parsed(data), parsed(expected)
        assert {**ours.pax_headers, "hdrcharset": "BINARY"} == theirs.pax_headers
        assert ours.get_info() == theirs.get_info()
    else:
        assert expected == data


def test_the_root_is_a_directory_called_dot() -> None:
    """No name has two slashes at its end."""
    data = header(b"/", Inode(Kind.DIRECTORY, 0o755))

    assert data.startswith(b"./\0")
    assert (".", tarfile.DIRTYPE, 0o755) == (parsed(data).name, parsed(data).type, parsed(data).mode)


def test_a_computed_file_is_empty() -> None:
    """Whatever it was before, nothing follows its header."""
    assert 0 == parsed(header(b"/x", Inode(Kind.COMPUTED, 0o644, size=7, target=b"localhost:1"))).size


def test_another_name_of_a_file() -> None:
    """A link has no content, however long its names are."""
    found = parsed(link_header(b"/" + b"x" * 150, FILE, b"/" + b"y" * 150))

    assert (tarfile.LNKTYPE, 0) == (found.type, found.size)
    assert (f"./{'x' * 150}", f"./{'y' * 150}") == (found.name, found.linkname)


@pytest.mark.parametrize(
    ("ranges", "size"),
    [
        ([], 1 << 20),
        ([(0, 4096)], 1 << 20),
        ([(4096, 8192), (1 << 20, (1 << 20) + 5)], (1 << 20) + 5),
        ([(number * 8192, number * 8192 + 4096) for number in range(500)], 500 * 8192),
    ],
    ids=["nothing but a hole", "a hole at the end", "data at the end", "a map of several blocks"],
)
def test_the_map_of_a_sparse_file(ranges: list[tuple[int, int]], size: int) -> None:
    """Name, size and ranges are found again; a hole at the end is a range of no bytes there, as GNU tar has it."""
    inode = replace(FILE, size=size, mtime=5, attributes=((b"user.a", b"\xff"),))
    found = parsed(sparse_header(b"/long\xff" + b"g" * 100, inode, ranges))
    shown = [(start, end - start) for start, end in ranges]
    table: object = found.sparse  # typeshed takes it for bytes

    assert text(b"./long\xff" + b"g" * 100) == found.name
    assert size == found.size
    assert shown + [(size, 0)] * (not ranges or ranges[-1][1] != size) == table
    assert "0.000000005" == found.pax_headers["mtime"]


def test_sparse_files_of_any_size() -> None:
    """More data than eleven octal digits can tell are told in base 256: tarfile mistakes a record for the real size."""
    size = 8**11 + 4096
    data = sparse_header(b"/x", replace(FILE, size=size * 2), [(size, size * 2)])
    own = data[-1024:-512]

    assert tarfile.nti(own[124:136]) == size + 512  # type: ignore[attr-defined]
    assert tarfile.nti(own[148:156]) in tarfile.calc_chksums(own)  # type: ignore[attr-defined]
    assert size * 2 == parsed(data).size
