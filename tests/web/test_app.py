"""Every page, asked as a browser and as a program would."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import msgspec
import pytest
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import Request

from imaginator.model.build import BuildFailure, BuildRecord, BuildRequest, Stage, StageTime
from imaginator.model.errors import NotFound, StoreCorrupt
from imaginator.model.image import Figures, Image, Origin, Owners, Package, Trigger
from imaginator.model.journal import Entry
from imaginator.model.pauses import Disabled, Pause
from imaginator.schedule.builder import UNCHANGED, Verdict
from imaginator.store.history import BuildQuery
from imaginator.web.app import HEALTH_DEADLINE
from imaginator.web.build_pages import TAIL
from imaginator.web.image_pages import MOST_IMAGES
from imaginator.web.status_page import MOST_QUEUED
from tests.support.fake_builder import EMPTY_ROOT, START, FakeBuilder, FakeLog, FakeStore, Status
from tests.support.visitor import Visitor

NASTY = '<script>alert("x")</script>&'
SHOWN = "&lt;script&gt;alert(&#34;x&#34;)&lt;/script&gt;&amp;"
UNKNOWN_ID = "01JDAV3K8ZQ5TQXH3N7RWM2E4C"


def image(stream: str, age: float = 600, build_id: str = "") -> Image:
    """An image of ``stream`` about which everything is said."""
    created = START - timedelta(seconds=age)
    return Image(
        name=f"{stream}/{created:%Y-%m-%d:%H:%M:%S}",
        root=EMPTY_ROOT,
        created_at=created,
        expires_at=START + timedelta(hours=1),
        filter=("/var/log/.*", NASTY),
        triggers=(Trigger(("/etc/ssh/.*",), "ssh", do_reload=True),),
        tags={"role": NASTY},
        owners=Owners(("carol",), ("web",)),
        packages=(Package("bash", "5.2.15", 7_000_000), Package("nasty", NASTY)),
        origin=Origin("base/x/2026-11-20:00:00:00", "https://git.example/x.git", "main", "3f9c2a", build_id, "dave"),
        figures=Figures(3210, 321, 5 * 2**20, 12, 3198),
    )


def populated() -> FakeBuilder:
    """A builder in the middle of its day: one build of every kind, and texts that want to be escaped."""
    builder = FakeBuilder({"base/x": ["alice"], "web/y": ["bob"], "idle/z": []})
    good = builder.add(BuildRequest(stream_name="base/x", variables={"A": NASTY}), NASTY, age=900)
    builder.start(good.build_id, log=b"all is well\n")
    builder.succeed(good.build_id, image("base/x", 600, good.build_id))
    bad = builder.add(BuildRequest(stream_name="web/y"), "bob", age=300)
    builder.start(bad.build_id)
    builder.fail(bad.build_id, BuildFailure(-32005, "build-failed", f"scripts: {NASTY} of topsecret"))
    running = builder.add(BuildRequest(stream_name="web/y", git_branch="trunk"), "bob", age=75)
    builder.start(running.build_id, Stage.PACKAGES, b"\x1b[1mGet:1\x1b[0m " + NASTY.encode() + b"\n")
    builder.add(BuildRequest(stream_name="idle/z"), "carol", age=15)
    builder.errors.append(f"streams.json: line 3: {NASTY}")
    builder.automation.verdicts = {
        "base/x": Verdict(START - timedelta(minutes=4), "built", f"packages: {NASTY} 5.1 → 5.2"),
        "web/y": Verdict(START - timedelta(minutes=3), "failed", f"{NASTY} of topsecret"),
        "idle/z": Verdict(START - timedelta(minutes=5), "extended", UNCHANGED),
    }
    return builder


def visitor(builder: FakeBuilder | None = None) -> Visitor:
    """A browser; ``topsecret`` is a secret."""
    return Visitor(builder or populated(), redact=lambda text: text.replace("topsecret", "$SECRET"))


def last(builder: FakeBuilder, stream: str) -> BuildRecord:
    """The newest build of a stream."""
    return [record for record in builder.records.values() if record.request.stream_name == stream][-1]


def test_the_status_page_shows_what_happens() -> None:
    """Running, queued, failed and good builds are there with what one wants to know of each, and the store."""
    text = visitor().get("/").text

    for expected in (
        ">web/y</a>", "packages", "1 min 13 s", ">bob<", "&amp;follow", ">carol<", "15 s ago", "scripts: ",
        ">base/x</a>", "2026-11-22:23:28:05", "streams.json: line 3: ", "embedded store in memory",
    ):  # fmt: skip
        assert expected in text


def test_the_status_page_says_why_rpc_is_closed() -> None:
    """The reason stands on the page, and only while there is one."""
    builder = FakeBuilder()
    assert "RPC is closed" not in visitor(builder).get("/").text

    builder.rpc_closed = "/etc/ssl/CA.pem is missing"

    assert "/etc/ssl/CA.pem is missing" in visitor(builder).get("/").text


def test_the_status_page_says_what_is_disabled() -> None:
    """What, until when and by whom."""
    builder = FakeBuilder()
    builder.pauses = [Pause(Disabled.BUILD_REQUESTS, START + timedelta(hours=1), NASTY)]

    text = visitor(builder).get("/").text

    assert "Build requests are disabled until 2026-11-23 00:38 UTC (<time" in text
    assert f">in 1 h</time>), by {SHOWN}." in text


def test_what_the_last_cycle_made_of_streams() -> None:
    """The list of streams says of each what was done and why; the status page names those that are not as they were."""
    page = visitor()
    status, streams, one = (page.get(path).text for path in ("/", "/showImageStreams", "/showImageStream?web/y"))

    for text in (status, streams):
        assert f"built: packages: {SHOWN} 5.1 → 5.2, <time" in text
        assert f"{SHOWN} of $SECRET, <time" in text
    assert f"failed: {SHOWN} of $SECRET" in one
    assert "extended: nothing has changed, <time" in streams
    assert "extended" not in status
    assert "Of 1 stream nothing has changed" in status
    assert "Last automatic rebuild" not in visitor(FakeBuilder({"a": []})).get("/").text


def test_why_a_stream_was_built() -> None:
    """Builds of the daemon's own say so wherever they are listed, long after the cycle that wanted them."""
    builder = populated()
    good = last(builder, "base/x")
    builder.records[good.build_id] = msgspec.structs.replace(good, reason=f"manifest changed: {NASTY}")

    for path in ("/", "/showImageStream?base/x", f"/showBuild?{good.build_id}"):
        assert f"manifest changed: {SHOWN}" in visitor(builder).get(path).text


def test_a_long_queue() -> None:
    """The status page names the first builds, and says how many more there are."""
    builder = FakeBuilder()
    for number in range(MOST_QUEUED + 3):
        builder.add(BuildRequest(stream_name=f"many/{number}"), age=1000 - number)

    text = visitor(builder).get("/").text

    assert f">many/{MOST_QUEUED - 1}</a>" in text
    assert f">many/{MOST_QUEUED}</a>" not in text
    assert "3 more wait behind these." in text
    assert "<dd>2</dd>" in visitor(builder).get("/showBuild?" + last(builder, "many/1").build_id).text


PAGES: dict[str, Callable[[FakeBuilder], str]] = {
    "status": lambda builder: "/",
    "streams": lambda builder: "/showImageStreams",
    "stream": lambda builder: "/showImageStream?base/x",
    "images": lambda builder: "/listImages",
    "image": lambda builder: "/showImage?" + last(builder, "base/x").image_name,
    "good build": lambda builder: "/showBuild?" + last(builder, "base/x").build_id,
    "running build": lambda builder: "/showBuild?" + last(builder, "web/y").build_id,
    "queued build": lambda builder: "/showBuild?" + last(builder, "idle/z").build_id,
    "error": lambda builder: "/showImageStream?no/such",
}


@pytest.mark.parametrize("page", PAGES)
def test_every_page_is_safe(page: str) -> None:
    """Nothing from outside becomes markup, no secret is shown, and the browser is told to be strict."""
    builder = populated()

    answer = visitor(builder).get(PAGES[page](builder))

    assert "text/html; charset=utf-8" == answer.header("Content-Type")
    assert answer.header("Content-Security-Policy").startswith("default-src 'none';")
    assert "nosniff" == answer.header("X-Content-Type-Options")
    assert "<script>" not in answer.text
    assert "topsecret" not in answer.text
    assert " style=" not in answer.text


def test_an_image_page_says_everything() -> None:
    """Source, manifest, commit, owners, tags, packages, figures and expiry of an image are on its page."""
    builder = populated()

    text = visitor(builder).get("/showImage?" + last(builder, "base/x").image_name).text

    for expected in (
        "/showImage?base/x/2026-11-20:00:00:00", "https://git.example/x.git", "main", "3f9c2a", "dave", "carol, web",
        f"role={SHOWN}", "5.2.15", "3,210", "12 new to the store", "in 1 h", "/etc/ssh/.*", "reload", "/var/log/.*",
        last(builder, "base/x").build_id, "/getImage?base/x/2026-11-22:23:28:05",
    ):  # fmt: skip
        assert expected in text


def test_a_stream_page_has_its_builds_and_images() -> None:
    """The builds and images of exactly this stream are listed, not those of streams below it."""
    builder = populated()
    builder.builders["base/x/deeper"] = []
    builder.add(BuildRequest(stream_name="base/x/deeper"), "mallory")

    text = visitor(builder).get("/showImageStream?base/x").text

    assert last(builder, "base/x").build_id in text
    assert "2026-11-22:23:28:05" in text
    assert "mallory" not in text


def test_images_without_a_stream_are_still_found() -> None:
    """A stream that is not configured any more keeps its page while it has images."""
    builder = FakeBuilder(store=FakeStore([image("old/one")]))

    assert "not configured" in visitor(builder).get("/showImageStreams").text
    assert "not configured any more" in visitor(builder).get("/showImageStream?old/one").text


def test_images_can_be_listed_below_a_name() -> None:
    """A name narrows the list of images; the list has an end."""
    builder = FakeBuilder(store=FakeStore([image("a/b"), image("c/d")]))
    text = visitor(builder).get("/listImages?a").text

    assert "a/b/2026" in text
    assert "c/d/2026" not in text

    many = FakeBuilder(store=FakeStore(image("a/b", age) for age in range(MOST_IMAGES + 7)))
    assert "7 older images" in visitor(many).get("/listImages").text


def test_a_build_page_shows_the_end_of_the_log() -> None:
    """Of a long log the last whole lines are shown, with their colours, and followed from where they end."""
    builder = populated()
    running = last(builder, "web/y")
    builder.logs[running.build_id].append(b"x" * TAIL + b"\n\x1b[31mthe end\x1b[0m\n")

    text = visitor(builder).get(f"/showBuild?{running.build_id}").text

    assert '<span class="c1">the end</span>' in text
    assert f'data-end="{builder.logs[running.build_id].size}"' in text
    assert "data-follow" in text
    assert "xxx" not in text


def test_a_finished_build_page_has_its_stages_and_stays_as_it_is() -> None:
    """A build that is over shows how long each stage took and does not ask the browser to look again."""
    builder = populated()
    good = last(builder, "base/x")
    builder._change(good.build_id, stages=(StageTime(Stage.PACK, 2.5), StageTime(Stage.STORE, 0.0)))

    text = visitor(builder).get(f"/showBuild?{good.build_id}").text

    assert "2.5 s" in text
    assert "data-live" not in text
    assert "data-follow" not in text


def test_a_build_without_a_log_has_a_page() -> None:
    """Old logs are deleted before old records; the page is there all the same."""
    builder = populated()

    async def log(name: str) -> FakeLog:
        raise NotFound(f"no build log of: {name}")

    builder.log = log  # type: ignore[method-assign]

    assert 200 == visitor(builder).get(f"/showBuild?{last(builder, 'base/x').build_id}").status


def test_logs_are_found_by_build_image_and_stream() -> None:
    """One log, four addresses; what they send is the log as it is."""
    builder = populated()
    good = last(builder, "base/x")

    for address in (
        f"/showBuildLog?{good.build_id}", f"/showBuildLog?{good.image_name}", "/showLastBuildLog?base/x",
        f"/showBuildLog?{good.build_id}&follow",
    ):  # fmt: skip
        answer = visitor(builder).get(address)
        assert (200, "all is well\n") == (answer.status, answer.text)
        assert "text/plain; charset=utf-8" == answer.header("Content-Type")
    assert "Get:1" in visitor(builder).get("/showCurrentBuildLog?web/y").text


def test_asking_for_the_head_of_a_growing_log_does_not_wait() -> None:
    """HEAD is answered at once, whatever the build does."""
    builder = populated()

    assert 200 == visitor(builder).get("/showCurrentBuildLog?web/y&follow", method="HEAD").status


@pytest.mark.parametrize(
    ("address", "status", "sentence"),
    [
        ("/showImageStream?no/such", 404, "unknown stream: no/such"),
        ("/showImageStream", 400, "stream name '': expected"),
        ("/showImageStream?../etc", 400, "stream name '../etc': expected"),
        ("/showImage?a/b/2026-11-20:00:00:00", 404, "no such image: a/b/2026-11-20:00:00:00"),
        ("/showImage?a/b", 400, "expected STREAM/YYYY-MM-DD:HH:MM:SS"),
        (f"/showBuild?{UNKNOWN_ID}", 404, "no such build"),
        ("/showBuild?topsecret", 400, "build id '$SECRET': expected"),
        (f"/showBuildLog?{UNKNOWN_ID}", 404, "no build log of"),
        ("/showCurrentBuildLog?idle/z", 404, "no build log of"),
        ("/showLastBuildLog?web/y&offset=x", 400, "expected a number of bytes"),
        ("/listImages?a//b", 400, "expected parts"),
        ("/getImage?a/b/2026-11-20:00:00:00", 403, "downloads need HTTPS with a client certificate"),
        ("/no/such/page", 404, "There is no such page."),
        ("/static/app.py", 404, "no such file: app.py"),
        ("/logs", 404, "keeps no log in memory"),
        ("/%ff", 400, ""),
    ],
)
def test_errors_are_one_sentence(address: str, status: int, sentence: str, clean_reactor: list[Failure]) -> None:
    """A program gets the sentence in plain text, a browser the same sentence on a page, with the same status."""
    plain = visitor().get(address, accept="*/*")
    page = visitor().get(address)

    assert (status, status) == (plain.status, page.status)
    assert sentence in plain.text
    assert sentence.replace("'", "&#39;") in page.text
    clean_reactor.clear()  # Klein itself logs an address that is not UTF-8


def test_pages_are_only_read() -> None:
    """Anything but GET and HEAD is refused."""
    answer = visitor().get("/", method="POST", accept="*/*")

    assert 405 == answer.status
    assert "GET, HEAD" == answer.header("Allow")


def test_a_fault_is_logged_and_not_shown(clean_reactor: list[Failure]) -> None:
    """A fault of the program tells the client nothing of itself; the log has it."""
    builder = populated()

    def status() -> Status:
        raise ZeroDivisionError("division of something secret")

    builder.status = status  # type: ignore[method-assign]

    answer = visitor(builder).get("/")

    assert 500 == answer.status
    assert "division" not in answer.text
    assert [ZeroDivisionError] == [failure.type for failure in clean_reactor]
    clean_reactor.clear()


def test_health_is_well_while_the_catalogue_answers() -> None:
    """A healthy daemon says ok."""
    answer = visitor().get("/healthz")

    assert (200, "ok\n") == (answer.status, answer.text)


def test_health_is_not_well_when_the_catalogue_does_not_answer() -> None:
    """A catalogue that hangs is reported when its time is over."""
    builder, never = populated(), Deferred[None]()

    async def builds(query: BuildQuery) -> list[BuildRecord]:
        await never
        return []

    builder.builds = builds  # type: ignore[method-assign]
    visit = visitor(builder)
    asked = visit.ask("/healthz")
    visit.clock.advance(HEALTH_DEADLINE)
    response = visit.result(asked)

    assert 503 == response.code
    assert "the catalogue did not answer within 5 s\n" == visit.result(response.text())


def test_health_is_not_well_when_the_catalogue_is_broken() -> None:
    """A catalogue that fails is reported with its reason, without secrets."""
    builder = populated()

    async def builds(query: BuildQuery) -> list[BuildRecord]:
        raise StoreCorrupt("catalogue.sqlite: disk image of topsecret is malformed")

    builder.builds = builds  # type: ignore[method-assign]
    answer = visitor(builder).get("/healthz")

    assert (503, "catalogue.sqlite: disk image of $SECRET is malformed\n") == (answer.status, answer.text)


def test_health_is_not_well_while_nothing_can_be_written_down() -> None:
    """The trouble is told with its reason, without secrets."""
    builder = populated()
    builder.trouble = "/topsecret/state cannot be written: Read-only file system"

    answer = visitor(builder).get("/healthz")

    assert (503, "/$SECRET/state cannot be written: Read-only file system\n") == (answer.status, answer.text)


def test_metrics_are_in_the_prometheus_format() -> None:
    """Builds by state and stage, streams, images and uptime are exposed."""
    visit = visitor()
    visit.clock.advance(60)
    answer = visit.get("/metrics")

    assert "text/plain; version=0.0.4; charset=utf-8" == answer.header("Content-Type")
    for line in (
        'imaginator_builds{state="running"} 1.0', 'imaginator_builds{state="queued"} 1.0',
        'imaginator_builds{state="failed"} 1.0', 'imaginator_builds{state="good"} 1.0',
        'imaginator_running_builds{stage="packages"} 1.0', 'imaginator_running_builds{stage="pack"} 0.0',
        "imaginator_streams 3.0", "imaginator_images 1.0", "imaginator_configuration_errors 1.0",
        "imaginator_rpc_open 1.0", "imaginator_uptime_seconds 60.0",
    ):  # fmt: skip
        assert f"{line}\n" in answer.text


def test_the_daemons_log_is_shown_where_it_is_kept() -> None:
    """The last entries are shown, escaped and without secrets."""
    entries = [Entry(START.timestamp(), "info", "x", f"{NASTY} topsecret")]
    visit = Visitor(populated(), lambda text: text.replace("topsecret", "$SECRET"), recent_log=lambda: entries)

    assert f"{SHOWN} $SECRET</span>" in visit.get("/logs").text


def test_static_files_have_their_type() -> None:
    """The style sheet and the script are served as what they are."""
    assert "text/css; charset=utf-8" == visitor().get("/static/style.css").header("Content-Type")
    assert "text/javascript; charset=utf-8" == visitor().get("/static/live.js").header("Content-Type")


class Pong(Resource):
    """Stands in for RPC."""

    isLeaf = True  # noqa: N815

    def render_POST(self, request: Request) -> bytes:  # noqa: N802
        """Answer."""
        return b"pong"


def test_rpc_is_mounted_or_closed() -> None:
    """Requests reach the resource that was given for their path; without one the reason is told."""
    builder = FakeBuilder()
    builder.rpc_closed = "CA.pem is missing"

    assert "pong" == Visitor(builder, rpc={"jsonrpc": Pong()}).get("/jsonrpc", method="POST").text
    closed = visitor(builder).get("/jsonrpc", method="POST")
    assert (503, "CA.pem is missing\n") == (closed.status, closed.text)


def test_a_stream_shows_its_last_builds() -> None:
    """A bar each, oldest first, by result and duration, that leads to the build."""
    builder = FakeBuilder({"a/b": []})
    old, new = (builder.add(BuildRequest(stream_name="a/b"), age=age) for age in (60, 30))
    builder.start(old.build_id)
    builder.fail(old.build_id, BuildFailure(-32005, "build-failed", "no"))
    page = visitor(builder).get("/showImageStream?a/b").text
    bars = re.findall(r'<a href="/showBuild\?(\w+)"><title>.*?</title><rect class="length (\w+)"', page)

    assert [(old.build_id, "failed"), (new.build_id, "queued")] == bars


def test_an_address_that_is_not_text() -> None:
    """The client is told so; the daemon's log is not."""
    answer = visitor().get("/%ff")

    assert (400, "The address is not UTF-8.\n") == (answer.status, answer.text)
