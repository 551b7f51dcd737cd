"""A disk that is full: of what builds work in and make, or of the catalogue alone. Once there is room all goes on.

Workspaces, layers and objects are on one file system by design, since they are renamed from one to the other; which of
them meets the end of it is a matter of the moment. The catalogue's directory can be on another one: here the rest of
the state directory is links.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from demo.daemon import ENDED_WELL, DaemonFailed
from demo.site import Site
from imaginator.rpc.client import RpcError
from tests.faults.conftest import running
from tests.integration.conftest import new_site
from tests.integration.test_bad_input import OVER_SMALL, poll
from tests.support.faulty import WAITS, Watcher, at_rest, ended, failure, health, let_go_on, page, record, submit
from tests.support.live import Live, leftovers
from tests.support.printed import COUNTS
from tests.support.small_disk import SmallDisk, small_disk
from tests.support.small_system import SMALL_PACKAGER, small_bootstrap
from tests.support.wholeness import catalogue_faults, object_faults

pytestmark = pytest.mark.integration

OF_BUILDS = ("builds", "kept", "layers", "objects")
OF_OTHERS = ("logs", "packages", "sources")
BUILD_FAILED, UNWRITABLE = -32005, -32009
FULL = "catalogue.sqlite cannot be written: database or disk is full"
NO_SPACE = "no space left"
WAITING = f"#!/bin/sh\n{WAITS}\n"
FILL = "#!/bin/sh\nset -e\ndd if=/dev/zero of=/var/lib/filler bs=1M\n"
HALF = "#!/bin/sh\nset -e\ndd if=/dev/urandom of=/var/lib/half bs=1M count=26\n"
WRITES = "dd if=/dev/urandom of=$place/var/lib/more bs=1M count=2\n"


def link(state: Path, names: Sequence[str], place: Path) -> None:
    """Let directories of a state directory be elsewhere."""
    state.mkdir(exist_ok=True)
    for name in names:
        (place / name).mkdir()
        (state / name).symlink_to(place / name)


def configured(site: Site) -> Site:
    """The site, with two bootstrap streams: one of them waits, and then writes 2 MB."""
    command = small_bootstrap(site.folder)
    slow = site.folder / "slow-bootstrap"
    slow.write_text(Path(command[1]).read_text() + f"{WAITS}\nplace=.\n{WRITES}")
    site.configure({"small": command, "slow": ["sh", str(slow), "$dir"]}, {}, SMALL_PACKAGER)
    return site


def check_whole(live: Live) -> None:
    """Whatever failed, the catalogue is in order, with all that it promises."""
    assert [] == leftovers(live.site)
    assert [] == [*object_faults(live.site.state / "objects"), *catalogue_faults(live.site.state)]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A disk of 48 MB."""
    with small_disk(tmp_path, "disk", 48) as disk:
        yield disk


@pytest.fixture
def cramped(disk: SmallDisk, tmp_path: Path) -> Iterator[Live]:
    """A daemon whose builds, and what they make, have that disk."""
    site = configured(new_site(tmp_path / "site"))
    link(site.state, OF_BUILDS, disk.root)
    with running(site) as live:
        live.build("small")
        yield live
        check_whole(live)


@pytest.fixture
def mute(disk: SmallDisk, tmp_path: Path) -> Iterator[Live]:
    """A daemon whose catalogue alone has that disk; it builds one at a time, and waits for no reserve."""
    site = configured(new_site(tmp_path / "site"))
    site.state = disk.root / "state"
    (tmp_path / "rest").mkdir()
    link(site.state, [*OF_BUILDS, *OF_OTHERS], tmp_path / "rest")
    with running(site, "--disk-reserve", "0", "--maximum-concurrent-builds", "1") as live:
        live.build("small")
        live.add_stream("fails", {"manifest": OVER_SMALL, "scripts/it": f"{WAITING}exit 3\n"})
        live.add_stream("works", {"manifest": OVER_SMALL, "scripts/it": WAITING})
        yield live
        check_whole(live)


def at_work(live: Live, stream: str) -> str:
    """A build that has come to where it waits; its id."""
    build = submit(live, stream)
    at_rest(live)
    return build


@pytest.mark.parametrize("script", [FILL, HALF], ids=["in a script", "in packing"])
def test_a_build_that_needs_more_than_there_is(cramped: Live, script: str) -> None:
    """Content that does not fit, or fits once but not twice: its build alone fails."""
    cramped.add_stream("large", {"manifest": OVER_SMALL, "scripts/it": script})
    cramped.add_stream("modest", {"manifest": OVER_SMALL, "files/etc/modest": "modest"})
    with Watcher(cramped.daemon.url), pytest.raises(RpcError, match=f"(?i){NO_SPACE}"):
        cramped.build("large")

    assert [] == cramped.images("large")
    assert "succeeded" == cramped.build("modest")["State"]
    COUNTS["a build that fills the disk"] += 1


@pytest.mark.parametrize("stream", ["slow", "over"])
def test_a_disk_that_others_fill_during_a_build(cramped: Live, disk: SmallDisk, stream: str) -> None:
    """The build fails when it needs room, and so do those that start then; afterwards all succeed."""
    cramped.add_stream("over", {"manifest": OVER_SMALL, "scripts/it": f"{WAITING}place=\nset -e\n{WRITES}"})
    with Watcher(cramped.daemon.url):
        build = at_work(cramped, stream)
        disk.fill()
        let_go_on(cramped)
        during = failure(cramped, build)
        late = failure(cramped, submit(cramped, "small"))
        disk.empty()
        build = submit(cramped, stream)
        let_go_on(cramped)

    assert "succeeded" == ended(cramped, build)["State"]
    assert [(BUILD_FAILED, True)] * 2 == [(code, NO_SPACE in said.lower()) for code, said in (during, late)]
    COUNTS["a disk that others fill during a build"] += 1


def refused(call: Callable[[], object]) -> None:
    """Make a call that cannot be written down."""
    with pytest.raises(RpcError) as caught:
        call()

    assert UNWRITABLE == caught.value.code
    assert caught.value.message.endswith(FULL)
    COUNTS["a call that a full catalogue refuses"] += 1


def test_calls_that_a_full_catalogue_refuses(mute: Live, disk: SmallDisk) -> None:
    """Nothing comes of them: what was queued, waiting or disabled before stays so."""
    build = at_work(mute, "works")
    queued = submit(mute, "small")
    disk.fill()
    with Watcher(mute.daemon.url):
        refused(lambda: submit(mute, "works"))
        refused(lambda: mute.call("Imaginator.CancelBuild", BuildId=queued))
        refused(lambda: mute.call("Imaginator.DisableBuildRequests", DisableFor=60))
        refused(lambda: mute.call("ImageServer.DeleteImage", ImageName=mute.images("small")[0]))
        (code, said), left = health(mute), record(mute, queued)["State"]
        disk.empty()
    let_go_on(mute)

    assert (503, True, "queued") == (code, said.strip().endswith(FULL), left)
    assert ["succeeded"] * 2 == [ended(mute, one)["State"] for one in (build, queued)]
    assert (200, "ok\n") == health(mute)


@pytest.mark.parametrize(
    ("stream", "said"),
    [("fails", "scripts/it: exit status 3"), ("works", FULL)],
    ids=["that has failed", "in its store"],
)
def test_an_end_that_cannot_be_written_down(mute: Live, disk: SmallDisk, stream: str, said: str) -> None:
    """The build runs on until it can: then it has failed, as it had before, and the next one starts."""
    build = at_work(mute, stream)
    queued = submit(mute, "small")
    with Watcher(mute.daemon.url):
        disk.fill()
        let_go_on(mute)
        poll(lambda: health(mute)[0] == 503, "the daemon to say that it is not well")
        meanwhile = [record(mute, one)["State"] for one in (build, queued)]
        shown = page(mute, "")
        disk.empty()
        found, next_one = ended(mute, build), ended(mute, queued)

    assert ["running", "queued"] == meanwhile
    assert (200, True) == (shown[0], "New builds wait" in shown[1])
    assert FULL in shown[1]
    assert said in found["Failure"]["Message"]
    assert "succeeded" == next_one["State"]
    assert [] == mute.images(stream)
    COUNTS["an end that a full catalogue does not take"] += 1


def test_a_daemon_that_ends_on_a_full_disk(mute: Live, disk: SmallDisk) -> None:
    """It does not wait for room, and none starts without; with some the build is run again, and the queue goes on."""
    build = at_work(mute, "fails")
    queued = submit(mute, "small")
    disk.fill()
    let_go_on(mute)
    poll(lambda: health(mute)[0] == 503, "the daemon to say that it is not well")
    status = mute.daemon.stop()
    with pytest.raises(DaemonFailed) as caught:
        mute.daemon.start()
    disk.empty()
    mute.daemon.start()
    let_go_on(mute)

    assert ENDED_WELL == status
    assert "imaginator: cannot start: No space left on device" == str(caught.value).splitlines()[-1]
    assert "Traceback" not in str(caught.value)
    assert ("failed", 2) == (ended(mute, build)["State"], record(mute, build)["Attempt"])
    assert "succeeded" == ended(mute, queued)["State"]
    COUNTS["a daemon that ends, and starts, on a full disk"] += 1
