"""The commands: results alone on standard output, the rest on standard error, and the exit status."""

from __future__ import annotations

import json
import signal
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from imaginator.model.build import BuildFailure, BuildRequest, Stage, State
from imaginator.model.image import Figures, Image, Origin
from imaginator.model.pauses import Disabled, Pause
from imaginator.rpc.certificates import Wish
from tests.cli.conftest import Tool
from tests.support.fake_builder import EMPTY_ROOT, START, FakeStore

NAME = "base/web/2026-11-22:23:38:05"
IMAGE = Image(
    name=NAME,
    root=EMPTY_ROOT,
    created_at=START,
    figures=Figures(files=12, bytes=3 * 1024),
    tags={"arch": "amd64"},
    origin=Origin(git_commit_id="0123abc"),
)


@pytest.fixture
def image(tool: Tool) -> Image:
    """An image that the site has."""
    assert isinstance(tool.site.builder.store, FakeStore)
    tool.site.builder.store.images[NAME] = IMAGE
    return IMAGE


@pytest_twisted.ensureDeferred
async def test_build_image(tool: Tool) -> None:
    """The image's name is all of the output; the request has the options and their defaults."""
    running = ensureDeferred(tool.run("build-image", "--variable", "A=b=c", "--expires-in=2h", "base/web", "main"))
    build_id = await tool.submitted()
    tool.site.builder.start(build_id, log=b"fetching\n")
    tool.site.builder.succeed(build_id, IMAGE)
    said = await running

    assert (f"{NAME}\n", 0) == (said.out, said.status)
    assert "fetching" not in said.err
    assert tool.site.builder.records[build_id].request == BuildRequest(
        stream_name="base/web",
        git_branch="main",
        expires_in=7200,
        max_source_age=3600,
        variables={"A": "b=c"},
    )


@pytest_twisted.ensureDeferred
async def test_place_stage_and_log(tool: Tool) -> None:
    """Place and log are told while they change, without what could play tricks on a terminal."""
    first = tool.site.builder.add(BuildRequest(stream_name="other"), age=60)
    running = ensureDeferred(tool.run("build-image", "--always-show-build-log", "base/web"))
    while len(tool.site.builder.records) < 2:
        await tool.run_plainly("--version")
    second = list(tool.site.builder.records)[1]
    log = tool.site.builder.logs[second]
    tool.site.builder.start(first.build_id)
    tool.site.builder.start(second, Stage.SCRIPTS, "running ü\x1b[2J\n".encode())
    while not log.readers:
        await tool.run_plainly("--version")
    log.append(b"more\n")
    tool.site.builder.succeed(second, IMAGE)
    said = await running

    assert said.err.endswith("running ü[2J\nmore\n")


@pytest_twisted.ensureDeferred
async def test_place_in_queue(tool: Tool) -> None:
    """A queued build's place is told."""
    tool.site.builder.add(BuildRequest(stream_name="other"), age=60)
    running = ensureDeferred(tool.run("build-image", "base/web"))
    while len(tool.site.builder.records) < 2:
        await tool.run_plainly("--version")
    second = list(tool.site.builder.records)[1]
    said_meanwhile = await tool.run("list-builds", "--state", "queued")
    tool.site.builder.succeed(second, IMAGE)
    said = await running

    assert 3 == len(said_meanwhile.out.splitlines())
    assert f"build {second}: queued, place 2\n" == said.err


@pytest_twisted.ensureDeferred
async def test_busy(tool: Tool) -> None:
    """Whoever does not want to wait is told."""
    tool.site.builder.start(tool.site.builder.add(BuildRequest(stream_name="other")).build_id)

    assert ("", "Error: busy\n", 1) == await tool.run("build-image", "--fail-if-busy", "base/web")


def permit(tool: Tool, *methods: str) -> None:
    """Let alice, whose certificate the tool has, call these methods."""
    tool.site.certify(Wish("alice", methods=methods))
    for name in ("pem", "key"):
        (tool.site.files / f"alice.{name}").rename(tool.home / ".ssl" / f"{'cert' if name == 'pem' else name}.pem")


@pytest_twisted.ensureDeferred
async def test_disabling(tool: Tool) -> None:
    """The original's flag is taken; people are told until when, programs too; who may not learns that."""
    refused = await tool.run("disable-auto-builds")
    permit(tool, "Imaginator.DisableAutoBuilds", "Imaginator.DisableBuildRequests")
    said = [
        await tool.run("disable-auto-builds", "-disableFor=2h"),
        await tool.run("disable-build-requests", "--disable-for", "15m", "--json"),
        await tool.run("enable-build-requests"),
    ]

    assert ("", 1) == (refused.out, refused.status)
    assert refused.err.startswith("Error: no permission to call: Imaginator.DisableAutoBuilds\n")
    assert "automatic builds are disabled until 2026-11-23 01:38:05\n" == said[0].err
    assert {"DisabledUntil": "2026-11-22T23:53:05Z"} == json.loads(said[1].out)
    assert "build requests are enabled\n" == said[2].err
    assert [Pause(Disabled.AUTO_BUILDS, START + timedelta(hours=2), "alice")] == tool.site.builder.pauses


@pytest_twisted.ensureDeferred
async def test_failed_build(tool: Tool) -> None:
    """A failure shows the end of the log and the error, and nothing on standard output."""
    running = ensureDeferred(tool.run("build-image", "base/web"))
    build_id = await tool.submitted()
    tool.site.builder.start(build_id, log=b"".join(b"line %d\n" % number for number in range(100)))
    while not tool.site.builder.logs[build_id].readers:
        await tool.run_plainly("--version")
    tool.site.builder.fail(build_id, BuildFailure(-32005, "build-failed", "scripts/x: exit status 3"))
    said = await running

    assert ("", 1) == (said.out, said.status)
    assert said.err.endswith(f"line 98\nline 99\nError: build {build_id}: scripts/x: exit status 3\n")
    assert "line 10\n" not in said.err


@pytest_twisted.ensureDeferred
async def test_json_result(tool: Tool) -> None:
    """For programs the record is the result, of a failed build as well."""
    running = ensureDeferred(tool.run("build-image", "--json", "base/web"))
    build_id = await tool.submitted()
    tool.site.builder.fail(build_id, BuildFailure(-32006, "source-image-needed", "no source image: base"))
    said = await running
    record = json.loads(said.out)

    assert (1, "failed", -32006) == (said.status, record["State"], record["Failure"]["Code"])


@pytest_twisted.ensureDeferred
async def test_refused(tool: Tool) -> None:
    """The daemon's sentence is the error."""
    said = await tool.run("build-image", "no/such")

    assert ("", "Error: unknown stream: no/such\n", 1) == said


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["build-image"],
        ["build-image", "s", "--expires-in", "soon"],
        ["build-image", "s", "--variable", "x"],
        ["get-image", "s"],
        ["explode"],
        ["--nonsense"],
    ],
    ids=" ".join,
)
@pytest_twisted.ensureDeferred
async def test_usage(tool: Tool, arguments: list[str]) -> None:
    """Wrong usage has its own exit status."""
    said = await tool.run(*arguments)

    assert ("", 2) == (said.out, said.status)
    assert "Usage: builder-tool" in said.err


@pytest_twisted.ensureDeferred
async def test_list_and_cancel_builds(tool: Tool) -> None:
    """Builds are listed, and cancelled by id."""
    record = tool.site.builder.add(BuildRequest(stream_name="base/web"))
    listed = await tool.run("list-builds", "--stream", "base")
    cancelled = await tool.run("cancel-build", record.build_id)
    left = await tool.run("list-builds", "--json", "--state", "queued")

    row = [record.build_id, "queued", "base/web", "alice", "2026-11-22", "23:38:05"]
    assert row == listed.out.splitlines()[1].split()
    assert f"build {record.build_id}: cancelled\n" == cancelled.err
    assert [] == json.loads(left.out)


@pytest_twisted.ensureDeferred
async def test_list_images(tool: Tool, image: Image) -> None:
    """Images are listed with what they weigh and how long they stay."""
    gone = msgspec.structs.replace(image, name=f"{NAME[:-1]}6", expires_at=START - timedelta(days=1000))
    tool.site.builder.store.images[gone.name] = gone  # type: ignore[attr-defined]
    rows = (await tool.run("list-images", "base")).out.splitlines()
    names = [line["Name"] for line in json.loads((await tool.run("list-images", "--json")).out)]

    assert [NAME, "12", "never"] == [rows[1].split()[place] for place in (0, 1, -1)]
    assert rows[2].endswith("expired")
    assert [NAME, gone.name] == names


@pytest.mark.parametrize("name", [NAME, "base/web"], ids=["image", "stream"])
@pytest_twisted.ensureDeferred
async def test_show_image(tool: Tool, image: Image, name: str) -> None:
    """An image is shown by its name, or as the latest of a stream."""
    said = await tool.run("show-image", name)
    shown = json.loads((await tool.run("show-image", "--json", name)).out)

    assert {f"Image: {NAME}", "Git commit: 0123abc", "Tag arch: amd64"} <= set(said.out.splitlines())
    assert NAME == shown["Name"]


@pytest.mark.parametrize("when", ["2026-12-24T18:00:00Z", "2026-12-24 19:00+01:00"])
@pytest_twisted.ensureDeferred
async def test_change_image_expiration(tool: Tool, when: str) -> None:
    """At a time, of whatever zone; the latest image of a stream will do. Never is for full access alone."""
    images = tool.site.builder.store.images  # type: ignore[attr-defined]
    images[NAME] = msgspec.structs.replace(IMAGE, origin=Origin(created_for="alice"))
    said = await tool.run("change-image-expiration", "base/web", when)
    refused = await tool.run("change-image-expiration", NAME, "never")

    assert ("", f"{NAME} expires 2026-12-24 18:00:00+00:00\n", 0) == said
    assert datetime(2026, 12, 24, 18, tzinfo=UTC) == images[NAME].expires_at
    assert (1, "Error: maximum expiration time is 1d for you\n") == (refused.status, refused.err)


@pytest_twisted.ensureDeferred
async def test_expiration_after_a_duration(tool: Tool) -> None:
    """It counts from now."""
    images = tool.site.builder.store.images  # type: ignore[attr-defined]
    images[NAME] = msgspec.structs.replace(IMAGE, origin=Origin(created_for="alice"))
    before = datetime.now(UTC)
    said = await tool.run("change-image-expiration", "--json", NAME, "1h30m")

    assert before < images[NAME].expires_at - timedelta(minutes=90) < datetime.now(UTC)
    assert NAME == json.loads(said.out)["ImageName"]


@pytest_twisted.ensureDeferred
async def test_what_is_no_expiration(tool: Tool) -> None:
    """The usage error shows what would be one."""
    said = await tool.run("change-image-expiration", NAME, "tomorrow")

    assert (2, True) == (
        said.status,
        "'tomorrow': expected never, a duration such as 12h or 30d, or a time" in said.err,
    )


@pytest_twisted.ensureDeferred
async def test_delete_image(tool: Tool, image: Image) -> None:
    """By those who own it; others are told."""
    refused = await tool.run("delete-image", NAME)
    images = tool.site.builder.store.images  # type: ignore[attr-defined]
    images[NAME] = msgspec.structs.replace(image, origin=Origin(created_for="alice"))
    said = await tool.run("delete-image", NAME)

    assert (1, f"Error: no permission to change: {NAME}") == (refused.status, refused.err.partition("\n")[0])
    assert ("", f"{NAME} was deleted\n", 0) == said
    assert {} == images


@pytest_twisted.ensureDeferred
async def test_original_flags_and_flags_file(tool: Tool, image: Image) -> None:
    """The original's command line works, with its flags file."""
    folder = tool.home / ".config" / "builder-tool"
    folder.mkdir(parents=True)
    (folder / "flags.default").write_text(f"imaginatorHostname=127.0.0.1\nimaginatorPortNum={tool.site.port}\n")
    said = await tool.run_plainly("-json", "list-images")

    assert NAME in said.out


@pytest_twisted.ensureDeferred
async def test_without_certificate(tool: Tool) -> None:
    """Who shows no certificate learns that one is needed."""
    (tool.home / ".ssl" / "key.pem").unlink()

    assert ("", "Error: no client certificate was shown\n", 1) == await tool.run("list-images")


@pytest_twisted.ensureDeferred
async def test_pair_of_another_name(tool: Tool) -> None:
    """A NAME.cert with its NAME.key serves as well."""
    folder = tool.home / ".ssl"
    (folder / "cert.pem").rename(folder / "work.cert")
    (folder / "key.pem").rename(folder / "work.key")

    assert 0 == (await tool.run("list-images")).status


class Process(ProcessProtocol):
    """A tool that is interrupted: what it wrote to standard error, and its exit status."""

    def __init__(self) -> None:
        self.err = b""
        self.ended: Deferred[int | None] = Deferred()

    def errReceived(self, data: bytes) -> None:  # noqa: N802
        """More on standard error."""
        self.err += data

    def outReceived(self, data: bytes) -> None:  # noqa: N802
        """More on the terminal, where there is one."""
        self.err += data

    def processEnded(self, reason: Failure) -> None:  # noqa: N802
        """The end."""
        assert isinstance(reason.value, ProcessDone | ProcessTerminated)
        self.ended.callback(reason.value.exitCode)


def start(tool: Tool, *arguments: str, terminal: bool) -> Process:
    """Start the tool, on a terminal or without."""
    from twisted.internet import reactor

    process = Process()
    argv = [*tool.argv, *tool.where, *arguments]
    reactor.spawnProcess(process, argv[0], argv, tool.environment, usePTY=terminal)
    return process


@pytest_twisted.ensureDeferred
async def test_interrupted_without_terminal(tool: Tool) -> None:
    """Nobody can be asked: the build goes on, and the tool says how to end it."""
    process = start(tool, "build-image", "base/web", terminal=False)
    build_id = await tool.submitted()
    tool.site.builder.start(build_id)
    while not tool.site.builder.logs[build_id].readers:
        await tool.run_plainly("--version")
    process.transport.signalProcess(signal.SIGINT)  # type: ignore[union-attr]

    assert 1 == await process.ended
    assert f"the build goes on; end it with: builder-tool cancel-build {build_id}\n" in process.err.decode()
    assert State.RUNNING is tool.site.builder.records[build_id].state
    tool.site.builder.logs[build_id].finish()


@pytest_twisted.ensureDeferred
async def test_interrupted_at_a_terminal(tool: Tool) -> None:
    """Ctrl-C asks, and yes cancels the build."""
    process = start(tool, "build-image", "base/web", terminal=True)
    build_id = await tool.submitted()
    tool.site.builder.start(build_id)
    while not tool.site.builder.logs[build_id].readers:
        await tool.run_plainly("--version")
    process.transport.write(b"\x03")  # type: ignore[union-attr]
    while b"Cancel the build?" not in process.err:
        await tool.run_plainly("--version")
    process.transport.write(b"y\n")  # type: ignore[union-attr]

    assert 1 == await process.ended
    assert State.CANCELLED is tool.site.builder.records[build_id].state
    assert "cancelled by alice" in process.err.decode()


@pytest_twisted.ensureDeferred
async def test_automatic_builds_are_started(tool: Tool) -> None:
    """Now, and waited for if that is wished."""
    permit(tool, "Imaginator.StartAutoBuilds")
    begun = await tool.run("start-auto-builds")
    ended = await tool.run("start-auto-builds", "--wait-to-start", "--wait-for-complete")

    assert [("", "automatic builds have begun\n", 0), ("", "automatic builds have ended\n", 0)] == [begun, ended]
    assert [(False, False), (True, True)] == tool.site.builder.automation.started
