"""What commands of a build see, and the order of scripts."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imaginator.build.environment import bootstrap_environment, build_environment, resolver_configuration
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


def test_strangers_variables_do_not_rule_the_hosts_programs() -> None:
    """A bootstrap command, the host's root, gets those variables of a request that it uses, or all of a trusted one."""
    asked = job({}, {"SUITE": "bookworm", "PERL5OPT": "-Mevil", "LD_PRELOAD": "/evil.so"})
    command = ["debootstrap", "${SUITE}", "$dir"]

    strangers = bootstrap_environment(asked, command)
    trusted = bootstrap_environment(msgspec.structs.replace(asked, privileged=True), command)

    assert {"PERL5OPT", "LD_PRELOAD"}.isdisjoint(strangers)
    assert ("bookworm", "arm64", "/") == tuple(strangers[name] for name in ("SUITE", "ARCH", "HOME"))
    assert "-Mevil" == trusted["PERL5OPT"]


def test_branch_and_time_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The branch that was asked for is told, and the daemon's time zone is passed on."""
    monkeypatch.setenv("TZ", "Europe/Berlin")

    environment = build_environment(job({}, {}, "topic"), "")

    assert ("topic", "Europe/Berlin") == (environment["REQUESTED_GIT_BRANCH"], environment["TZ"])


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("nameserver 192.0.2.1\n", "nameserver 10.0.2.3\n"),
        ("search b.test\nnameserver 127.0.0.53\nnameserver ::1\noptions edns0\n",
         "nameserver 10.0.2.3\nsearch b.test\noptions edns0\n"),
        ("nameserver fe80::1%eth0\n", "nameserver fd00::3\n"),
        ("# nothing", "nameserver 10.0.2.3\n# nothing\n"),
        ("", "nameserver 10.0.2.3\n"),
    ],
)  # fmt: skip
def test_a_build_asks_the_name_server_of_its_network(host: str, expected: str) -> None:
    """The host's own may be where no build gets; what else the host says of names is kept."""
    assert expected.encode() == resolver_configuration(host)


def test_version_order() -> None:
    """Numbers count as numbers, wherever they stand in a name."""
    names = [b"10_x", b"9_x", b"a2", b"a10", b"9_a", b"1.10", b"1.9"]

    assert [b"1.9", b"1.10", b"9_a", b"9_x", b"10_x", b"a2", b"a10"] == sorted(names, key=version_key)


@given(st.binary(), st.binary())
def test_any_names_can_be_compared(one: bytes, other: bytes) -> None:
    """Different names have different keys, and any two keys can be compared."""
    keys = sorted([version_key(one), version_key(other)])

    assert {tuple(version_key(one)), tuple(version_key(other))} == set(map(tuple, keys))
