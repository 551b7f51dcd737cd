"""What commands of a build see, and the order of scripts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imaginator.build.environment import build_environment, resolver_configuration
from imaginator.build.job import Job
from imaginator.build.scripts import version_key
from imaginator.model.build import BuildRequest
from imaginator.model.settings import Settings
from imaginator.model.streams import Stream
from imaginator.sandbox.limits import Limits


def job(own: dict[str, str], asked: dict[str, str], branch: str = "") -> Job:
    """A job for `a/b` with a stream's and a request's variables."""
    return Job(
        build_id="x",
        attempt=1,
        stream_name="a/b",
        request=BuildRequest(stream_name="a/b", variables=asked, git_branch=branch),
        definition=Stream(manifest_url="dir:///m", variables=own),
        packager=None,
        arch="arm64",
        secrets={"TOKEN": "s3cr3t-word"},
        settings=Settings(),
        requester="alice",
        expires_in=60,
        limits=Limits(),
    )


def test_precedence() -> None:
    """The request beats the stream unless it is empty; nobody changes what the build itself sets."""
    environment = build_environment(
        job(
            {"A": "stream", "B": "stream", "C": "of $IMAGE_STREAM", "HOME": "/home"},
            {"A": "request", "B": "", "MANIFEST_GIT_COMMIT_ID": "forged", "REQUESTED_GIT_BRANCH": "forged"},
        ),
        "c0ffee",
    )

    assert ("request", "stream", "of a/b", "/") == tuple(environment[name] for name in ("A", "B", "C", "HOME"))
    assert "c0ffee" == environment["MANIFEST_GIT_COMMIT_ID"]
    assert {"TOKEN", "REQUESTED_GIT_BRANCH"}.isdisjoint(environment)


def test_branch_and_time_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The branch that was asked for is told, and the daemon's time zone is passed on."""
    monkeypatch.setenv("TZ", "Europe/Berlin")

    environment = build_environment(job({}, {}, "topic"), "")

    assert ("topic", "Europe/Berlin") == (environment["REQUESTED_GIT_BRANCH"], environment["TZ"])


LOCAL, FAR, UPSTREAM = "nameserver 127.0.0.53\noptions edns0\n", "nameserver 192.0.2.1\n", "nameserver 192.0.2.9\n"


@pytest.mark.parametrize(
    ("host", "upstream", "expected"),
    [
        (FAR, UPSTREAM, FAR),
        (LOCAL, UPSTREAM, UPSTREAM),
        (LOCAL + FAR, UPSTREAM, LOCAL + FAR),
        (LOCAL, "", LOCAL),
        ("nameserver ::1\n", UPSTREAM, UPSTREAM),
        ("nameserver fe80::1%eth0\n", UPSTREAM, "nameserver fe80::1%eth0\n"),
        ("", "", ""),
    ],
)
def test_loopback_name_servers_are_replaced(host: str, upstream: str, expected: str) -> None:
    """Where the host asks itself, the build asks whom the host asks."""
    assert expected.encode() == resolver_configuration(host, upstream)


def test_version_order() -> None:
    """Numbers count as numbers, wherever they stand in a name."""
    names = [b"10_x", b"9_x", b"a2", b"a10", b"9_a", b"1.10", b"1.9"]

    assert [b"1.9", b"1.10", b"9_a", b"9_x", b"10_x", b"a2", b"a10"] == sorted(names, key=version_key)


@given(st.binary(), st.binary())
def test_any_names_can_be_compared(one: bytes, other: bytes) -> None:
    """Different names have different keys, and any two keys can be compared."""
    keys = sorted([version_key(one), version_key(other)])

    assert {tuple(version_key(one)), tuple(version_key(other))} == set(map(tuple, keys))
