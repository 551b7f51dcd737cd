"""Certificates that were good when their connections were opened."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from imaginator.model.errors import NotAuthenticated
from imaginator.rpc.certificates import Issued, Wish, issue, make_authority, make_certificate, revoke
from imaginator.service.credentials import Credentials, Files, read_credentials
from imaginator.service.trust import Trust

AUTHORITY = make_authority("test authority")
OTHER = make_authority("other authority")
NOW = datetime.now(UTC)
ALICE = issue(AUTHORITY, Wish("alice", not_after=NOW + timedelta(hours=2)))
CHAIN = [ALICE.certificate, AUTHORITY.certificate]


def trust(folder: Path, *authorities: Issued, lists: bytes = b"") -> Trust:
    """Trust in these authorities, with a file of these lists where there are any."""
    files = Files(folder / "CA.pem", folder / "cert.pem", folder / "key.pem", folder / "crl.pem" if lists else None)
    make_certificate(authorities[0], "localhost", server=True).write(files.certificate, files.key)
    parts = []
    for authority in authorities:
        authority.write(files.authority, None)
        parts.append(files.authority.read_bytes())
    files.authority.write_bytes(b"".join(parts))
    (folder / "crl.pem").write_bytes(lists)
    credentials: Credentials = read_credentials(files)
    return Trust(credentials)


@pytest.mark.parametrize("lists", [b"", revoke(AUTHORITY), revoke(AUTHORITY) + revoke(OTHER, ALICE)])
def test_what_is_good(tmp_path: Path, lists: bytes) -> None:
    """A certificate in its time; another authority's list of the same number says nothing of it."""
    trust(tmp_path, AUTHORITY, OTHER, lists=lists).check(CHAIN, NOW)


BAD: dict[str, tuple[str, datetime, Callable[[Path], Trust]]] = {
    "expired": ("has expired", NOW + timedelta(hours=3), lambda folder: trust(folder, AUTHORITY)),
    "before its time": ("has expired", NOW - timedelta(hours=1), lambda folder: trust(folder, AUTHORITY)),
    "authority gone": ("not trusted any more", NOW, lambda folder: trust(folder, OTHER)),
    "namesake": ("not trusted any more", NOW, lambda folder: trust(folder, make_authority("test authority"))),
    "revoked": ("was revoked", NOW, lambda folder: trust(folder, AUTHORITY, lists=revoke(AUTHORITY, ALICE))),
    "no list": ("no list", NOW, lambda folder: trust(folder, AUTHORITY, OTHER, lists=revoke(OTHER))),
}


@pytest.mark.parametrize("why", BAD)
def test_what_is_good_no_more(tmp_path: Path, why: str) -> None:
    """The sentence tells the caller."""
    words, now, made = BAD[why]

    with pytest.raises(NotAuthenticated, match=words):
        made(tmp_path).check(CHAIN, now)
