"""What goes wrong is one clear error to the caller and in the log; nothing half-done is left."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from imaginator.rpc.client import RpcError
from imaginator.sandbox.firewall import HOST_IPV4
from tests.support.live import Live, leftovers

pytestmark = pytest.mark.integration

PACKAGER = """#!/bin/sh
case "$1" in
    update) COMMAND ;;
    install) touch /etc/installed ;;
esac
"""

OVER_SMALL = '{"SourceImage": "small"}'


@pytest.fixture(autouse=True)
def nothing_left(small: Live) -> Iterator[None]:
    """Whatever a test provokes, no workspace, process or mount is left when its build has ended."""
    yield
    assert [] == leftovers(small.site)


def failure(live: Live, stream: str, **parameters: object) -> RpcError:
    """The error that a build ends with; no image may have come of it."""
    with pytest.raises(RpcError) as caught:
        live.build(stream, **parameters)
    assert [] == live.images(stream)
    return caught.value


def test_unknown_stream(small: Live) -> None:
    """A stream that no configuration names."""
    error = failure(small, "no/such")

    assert (-32003, "unknown stream: no/such") == (error.code, error.message)


def test_missing_manifest(small: Live) -> None:
    """A directory of the repository without a manifest file."""
    stream = small.add_stream("bad/empty", {"files/etc/x": "x"})

    error = failure(small, stream)

    assert "manifest" in error.message
    assert "bad/empty" in error.message


def test_missing_directory(small: Live) -> None:
    """A manifest directory that the repository does not have."""
    small.add_stream("bad/nowhere", {"manifest": OVER_SMALL})
    small.site.git("rm", "-r", "--quiet", "bad/nowhere")
    small.site.git("-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "-q", "-m", "gone")

    error = failure(small, "bad/nowhere")

    assert "bad/nowhere" in error.message


def test_manifest_with_broken_json(small: Live) -> None:
    """The sentence has the line and the column."""
    stream = small.add_stream("bad/json", {"manifest": '{\n    "SourceImage": oops\n}'})

    assert "line 2" in failure(small, stream).message


def test_missing_source_with_recursion_off(small: Live) -> None:
    """The error names the source image that is needed."""
    stream = small.add_stream("bad/orphan", {"manifest": '{"SourceImage": "nobody/has/this"}'})

    error = failure(small, stream, DisableRecursiveBuild=True)

    assert -32006 == error.code
    assert "no source image: nobody/has/this" in error.message


def test_source_stream_that_does_not_exist(small: Live) -> None:
    """With recursion on, the unknown source stream is named."""
    stream = small.add_stream("bad/child", {"manifest": '{"SourceImage": "nobody/has/that"}'})

    assert "nobody/has/that" in failure(small, stream).message


def test_source_cycle_is_printed(small: Live) -> None:
    """Two streams that build on each other are told as the cycle that they are."""
    small.add_stream("bad/a", {"manifest": '{"SourceImage": "bad/b"}'})
    small.add_stream("bad/b", {"manifest": '{"SourceImage": "bad/a"}'})

    assert "build cycle: bad/b -> bad/a -> bad/b" in failure(small, "bad/a").message


def test_failing_script(small: Live) -> None:
    """The script's name, its exit status and its last words."""
    stream = small.add_stream(
        "bad/script",
        {"manifest": OVER_SMALL, "scripts/10_fail": "#!/bin/sh\necho cannot find my keys >&2\nexit 7\n"},
    )

    error = failure(small, stream)

    assert -32005 == error.code
    for words in ("10_fail", "exit status 7", "cannot find my keys"):
        assert words in error.message


def test_failing_test(small: Live) -> None:
    """A test that fails keeps the image out of the store."""
    stream = small.add_stream("bad/test", {"manifest": OVER_SMALL, "tests/sane": "#!/bin/sh\necho insane\nexit 1\n"})

    error = failure(small, stream)

    assert "sane" in error.message
    assert "exit status 1" in error.message


def test_hanging_test(small: Live) -> None:
    """A test that hangs is ended after its ten seconds, with everything that it started."""
    stream = small.add_stream(
        "bad/hang", {"manifest": OVER_SMALL, "tests/hangs": "#!/bin/sh\nsleep 3600 &\nsleep 3600\n"}
    )

    assert "10" in failure(small, stream).message


def test_mirror_that_does_not_answer(small: Live, silent_port: int) -> None:
    """A package server that is silent: the packager's own words, after a few attempts, and nothing installed."""
    call = f"busybox timeout 1 busybox nc {HOST_IPV4} {silent_port}"
    command = f"{call}; test $? != 143 || {{ echo mirror silent; false; }}"
    script = PACKAGER.replace("COMMAND", command)
    files = {"manifest": OVER_SMALL, "files/bin/generic-packager": script, "package-list": "tree\n"}
    error = failure(small, small.add_stream("bad/mirror", files))

    assert "package update" in error.message
    assert "mirror silent" in error.message


def test_destination_that_is_closed(small: Live) -> None:
    """A script that calls the daemon is refused, and the build says so."""
    script = f"#!/bin/sh\nbusybox nc {HOST_IPV4} {small.daemon.port}\n"
    stream = small.add_stream("bad/reach", {"manifest": OVER_SMALL, "scripts/1": script})

    assert f"network: {HOST_IPV4} port {small.daemon.port} (tcp) was refused" in failure(small, stream).message


def test_failing_bootstrap(small: Live) -> None:
    """A bootstrap command that fails shows its last words."""
    small.bootstraps["bad-bootstrap"] = ["sh", "-c", "echo no mirror today >&2; exit 3"]
    reconfigure(small)

    error = failure(small, "bad-bootstrap")

    assert "no mirror today" in error.message
    assert "exit status 3" in error.message


def test_bootstrap_that_is_not_installed(small: Live) -> None:
    """A bootstrap program that this host does not have is named."""
    small.bootstraps["absent-bootstrap"] = ["no-such-bootstrap", "$dir"]
    reconfigure(small)

    assert "no-such-bootstrap" in failure(small, "absent-bootstrap").message


def test_cancelled_build(small: Live) -> None:
    """Cancelling a running script ends it and everything that it started."""
    stream = small.add_stream(
        "bad/slow", {"manifest": OVER_SMALL, "scripts/slow": "#!/bin/sh\necho started\nsleep 3600\n"}
    )
    build = small.call("Imaginator.SubmitBuild", StreamName=stream, ExpiresIn=3600, MaxSourceAge=86400)["BuildId"]
    wait_for_text(small, build, "started")

    small.call("Imaginator.CancelBuild", BuildId=build)

    assert "cancelled" == wait_for_end(small, build)


def test_maximum_duration(small: Live) -> None:
    """A build that takes longer than it may is ended and says so."""
    stream = small.add_stream("bad/long", {"manifest": OVER_SMALL, "scripts/long": "#!/bin/sh\nsleep 3600\n"})

    error = failure(small, stream, MaximumBuildDuration=1)

    assert -32008 == error.code


def test_broken_streams_file_never_replaces_a_good_one(small: Live) -> None:
    """The error has file, line and column; known streams stay."""
    stream = small.add_stream("good/one", {"manifest": OVER_SMALL})
    small.build(stream)
    good = small.site.streams.read_text()
    small.site.streams.write_text('{\n  "Streams": {oops}\n}')
    wait_for_page(small, "streams.json: line 2")

    record = small.build(stream)
    small.site.streams.write_text(good)
    wait_for_page(small, "streams.json: line 2", present=False)

    assert "succeeded" == record["State"]


def test_unknown_packager_type_is_named(small: Live) -> None:
    """A main configuration that names a packager type which it does not define is refused on reload."""
    good = small.site.configuration.read_text()
    bad = json.loads(good)
    bad["BootstrapStreams"]["small"]["PackagerType"] = "portage"
    small.site.configuration.write_text(json.dumps(bad))
    wait_for_page(small, "portage")

    small.site.configuration.write_text(good)
    wait_for_page(small, "portage", present=False)


def reconfigure(live: Live) -> None:
    """Write the main configuration with the bootstraps that tests added; asking for an unknown one reads it."""
    settings = json.loads(live.site.configuration.read_text())
    for name, command in live.bootstraps.items():
        settings["BootstrapStreams"][name] = {"BootstrapCommand": command, "PackagerType": "native"}
    live.site.configuration.write_text(json.dumps(settings))


def wait_for_page(live: Live, text: str, present: bool = True) -> None:
    """Look at the status page until it says something, or no longer does."""
    with live.client() as client:
        poll(lambda: (text in client.stream("/").read().decode()) == present, f"{text!r} on the status page")


def wait_for_text(live: Live, build_id: str, text: str) -> None:
    """Read a build's log until it has some text."""
    poll(lambda: text in live.log(build_id), f"{text!r} in the log")


def wait_for_end(live: Live, build_id: str) -> str:
    """The state that a build ends in."""
    states: list[str] = []

    def ended() -> bool:
        states.append(live.call("Imaginator.GetBuild", BuildId=build_id)["State"])
        return states[-1] in ("succeeded", "failed", "cancelled")

    poll(ended, "the end of the build")
    return states[-1]


def poll(condition, what: str, seconds: float = 60) -> None:  # type: ignore[no-untyped-def]
    """Ask until a condition holds; the limit is generous, only a hang exceeds it."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.05)
