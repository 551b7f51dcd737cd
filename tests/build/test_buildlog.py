"""The build log: what it keeps, times and hides, and how it is followed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet.task import Clock

from imaginator.build.buildlog import GAP, LONGEST_LINE, TOGETHER, BuildLog
from imaginator.model.build import Stage, StageTime
from imaginator.model.marks import Mark
from imaginator.model.redaction import Redactor
from tests.support.small_disk import small_disk

MakeLog = Callable[..., BuildLog]


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still."""
    return Clock()


@pytest.fixture
def make_log(tmp_path: Path, clock: Clock) -> MakeLog:
    """Makes a log with a secret and, if wanted, a limit."""
    redactor = Redactor({"TOKEN": "s3cr3t-word"})
    return lambda **options: BuildLog(tmp_path / "log", redactor, clock, **options)


def test_lines_appear_when_they_are_whole(make_log: MakeLog) -> None:
    """A piece of a line waits for its end, which the end of the log is too."""
    log = make_log()
    log.log(b"one\ntw")
    early = log.path.read_bytes()
    log.log(b"o")
    log.finish()

    assert (b"one\n", b"one\ntwo\n") == (early, log.path.read_bytes())


def test_torn_secret_is_redacted(make_log: MakeLog) -> None:
    """A secret that comes in two pieces, or in a note, does not reach the file."""
    log = make_log()
    log.log(b"a s3cr3t")
    log.log(b"-word b\n")
    log.note("c s3cr3t-word d")
    log.finish()

    assert b"a $TOKEN b\nc $TOKEN d\n" == log.path.read_bytes()


def test_stages_are_timed(make_log: MakeLog, clock: Clock) -> None:
    """Each stage begins and ends with a line, the last one with the log."""
    log = make_log()
    log.stage(Stage.FETCH)
    clock.advance(1.5)
    log.stage(Stage.PACK)
    clock.advance(0.25)
    log.finish()

    assert (StageTime(Stage.FETCH, 1.5), StageTime(Stage.PACK, 0.25)) == log.stages
    assert "=== fetch\n=== fetch: 1.5s\n=== pack\n=== pack: 250ms\n" == log.path.read_text()


def test_lines_have_times(make_log: MakeLog, clock: Clock) -> None:
    """Marks tell when what follows was written, and when its step began."""
    log = make_log()
    log.note("first")
    clock.advance(1)
    log.stage(Stage.FETCH)
    clock.advance(0.5)
    log.log(b"half a")
    clock.advance(0.5)
    log.log(b" line\nand more\n")
    log.finish()
    text = log.path.read_bytes()

    assert [Mark(0, 0, 0), Mark(6, 1000, 1000), Mark(text.index(b"half"), 2000, 1000)] == list(log.marks)


def test_output_is_bounded_but_notes_are_not_lost(make_log: MakeLog) -> None:
    """Past the limit the output is dropped, which is said once; what the build says itself still comes."""
    log = make_log(limit=10)
    log.log(b"123456\n")
    log.log(b"abcdefgh\n")
    log.log(b"more\n")
    log.note("the end")
    log.finish()

    expected = b"123456\nabc\n*** more than 10 B: the rest of the output is not kept\nthe end\n"
    assert expected == log.path.read_bytes()


@pytest_twisted.ensureDeferred
async def test_reading_from_an_offset(make_log: MakeLog) -> None:
    """A reader gets what is there from where it wants, during the build and after it."""
    log = make_log()
    log.note("hello")
    during = await log.read(1, 3)
    log.finish()

    assert (b"ell", b"o\n", b"") == (during, await log.read(4, 100), await log.read(6, 100))


def test_followers_are_woken(make_log: MakeLog) -> None:
    """A follower waits until there is something after its offset, or nothing more will come."""
    log = make_log()
    woken: list[str] = []
    log.grown(0).addCallback(lambda _: woken.append("line"))
    log.grown(100).addCallback(lambda _: woken.append("end"))
    gone = log.grown(0)
    gone.addErrback(lambda failure: woken.append("gone"))
    gone.cancel()
    log.note("hello")
    before_the_end = list(woken)
    log.finish()

    assert (["gone", "line"], ["gone", "line", "end"]) == (before_the_end, woken)
    assert log.grown(6).called


def test_many_followers_are_woken_in_turns(make_log: MakeLog, clock: Clock) -> None:
    """A few at once, the others later, though the log ends meanwhile; one who has gone is not woken."""
    log = make_log()
    woken: list[int] = []
    followers = [log.grown(0) for _ in range(60)]
    for number, follower in enumerate(followers):
        follower.addCallbacks(lambda _, number=number: woken.append(number), lambda _: None)
    log.log(b"line\n")
    log.log(b"line\n")
    at_once = list(woken)
    followers[-1].cancel()
    log.finish()
    while clock.getDelayedCalls():
        clock.advance(0)

    assert (list(range(TOGETHER)), list(range(59))) == (at_once, woken)


def test_a_secret_in_an_endless_line_is_not_torn(tmp_path: Path) -> None:
    """Output without line ends appears at last, and a secret in it is replaced wherever the chunks meet."""
    log = BuildLog(tmp_path / "log", Redactor({"TOKEN": "correct-horse"}), Clock())
    for chunk in (
        b"x" * (LONGEST_LINE - 7),
        b"correct",
        b"-horse" + b"y" * 9,
        b"z" * LONGEST_LINE + b"correct-",
        b"horse",
    ):
        log.log(chunk)
    log.finish()

    text = (tmp_path / "log").read_bytes()
    assert 2 == text.count(b"$TOKEN")
    assert b"horse" not in text


def test_a_disk_that_takes_nothing_more(tmp_path: Path) -> None:
    """What does not fit is lost, which is said when there is room again; the size is that of the file."""
    with small_disk(tmp_path, "disk", 4) as disk:
        log = BuildLog(disk.root / "log", Redactor({}), Clock())
        log.note("before")
        disk.fill()
        log.log(b"x" * 8192 + b"lost\n")
        size, found = log.size, log.path.stat().st_size
        disk.empty()
        log.note("after")
        log.finish()
        text = log.path.read_bytes()

    assert size == found
    assert text.startswith(b"before\n")
    assert text.endswith(GAP + b"after\n")
    assert b"lost" not in text
