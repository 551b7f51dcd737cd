"""The page of the daemon's log."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import pytest

from imaginator.model.build import BuildRequest
from imaginator.model.errors import InvalidRequest
from imaginator.model.journal import Entry
from imaginator.web.log_page import MOST_SHOWN, since_when
from tests.support.fake_builder import START, FakeBuilder
from tests.support.visitor import Visitor

MADE = FakeBuilder()


def entry(minutes: float, level: str, text: str) -> Entry:
    """An entry of so many minutes ago."""
    return Entry(START.timestamp() - 60 * minutes, level, "imaginator.x", text)


ENTRIES = [entry(90, "info", "listening"), entry(40, "warn", "about web/front"), entry(5, "error", "<b>bad</b>")]


def texts(entries: list[Entry], **fields: str) -> list[str]:
    """What the page shows."""
    answer = Visitor(MADE, recent_log=lambda: entries).get("/logs?" + urlencode(fields))
    assert 200 == answer.status
    return re.findall(r'<span class="text">(.*?)</span>', answer.text)


def test_choosing() -> None:
    """The fields of the form choose, alone and together; the latest comes first."""
    assert ["&lt;b&gt;bad&lt;/b&gt;", "about web/front", "listening"] == texts(ENTRIES)
    assert ["&lt;b&gt;bad&lt;/b&gt;", "about web/front"] == texts(ENTRIES, level="warn")
    assert ["about web/front"] == texts(ENTRIES, level="warn", text="WEB")
    assert ["about web/front"] == texts(ENTRIES, name="web/front")
    assert ["&lt;b&gt;bad&lt;/b&gt;"] == texts(ENTRIES, since="30m")
    assert ["&lt;b&gt;bad&lt;/b&gt;", "about web/front"] == texts(ENTRIES, since="2026-11-22T22:50Z")
    assert [] == texts(ENTRIES, level="critical")


def test_a_streams_builds() -> None:
    """A stream's name finds entries that only tell its build's id."""
    builder = FakeBuilder({"web/front": (), "web/other": ()})
    mine, other = (builder.add(BuildRequest(stream_name=name)) for name in ("web/front", "web/other"))
    entries = [entry(1, "error", f"build {mine.build_id} broke"), entry(2, "error", f"build {other.build_id} broke")]
    visitor = Visitor(builder, recent_log=lambda: entries)

    assert mine.build_id in visitor.get("/logs?name=web/front").text
    assert other.build_id not in visitor.get("/logs?name=web/front").text


def test_as_plain_text() -> None:
    """All of it, the oldest first, where the original has its latest log; it has no other."""
    visitor = Visitor(MADE, recent_log=lambda: ENTRIES)
    lines = visitor.get("/logs/dump?name=latest").text.splitlines()

    assert ["info: listening", "warn: about web/front", "error: <b>bad</b>"] == [line[20:] for line in lines]
    assert "2026-11-22 22:08:05 " == lines[0][:20]
    assert 404 == visitor.get("/logs/dump?name=imaginator.2026-11-22").status


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"level": "bad"}, "level 'bad': expected one of debug, info, warn, error, critical"),
        ({"since": "soon"}, "since 'soon': expected a duration like 15m, or a time like 2026-11-22 23:38 (UTC)"),
        ({"name": "../x"}, "stream name '../x': expected parts of letters, digits"),
    ],
)
def test_nonsense(fields: dict[str, str], sentence: str) -> None:
    """It is refused with what was expected."""
    answer = Visitor(MADE, recent_log=lambda: ENTRIES).get("/logs?" + urlencode(fields), accept="text/plain")

    assert 400 == answer.status
    assert answer.text.startswith(sentence)


def test_the_form_keeps_its_fields() -> None:
    """What was chosen stands in the form, so that it can be changed; nothing found is said."""
    answer = Visitor(MADE, recent_log=lambda: ENTRIES).get("/logs?level=error&text=%22nothing&since=2d&name=web")

    for piece in ('value="error" selected', 'value="&#34;nothing"', 'value="2d"', 'value="web"'):
        assert piece in answer.text
    assert "None of the last 3 entries is like that." in answer.text


def test_very_many() -> None:
    """Only so many are shown; how many more there are is said."""
    entries = [entry(1, "info", "x")] * (MOST_SHOWN + 1234)

    assert MOST_SHOWN == len(texts(entries))
    assert "1,234 older ones" in Visitor(MADE, recent_log=lambda: entries).get("/logs").text


def test_since_when() -> None:
    """Durations count back from now; times without a zone are UTC; what lies before 1970 is everything."""
    now = datetime(2026, 11, 22, 12, tzinfo=UTC)

    assert now - timedelta(hours=1, minutes=30) == since_when("1h30m", now)
    assert datetime(2026, 11, 22, tzinfo=UTC) == since_when("2026-11-22", now)
    assert datetime(1970, 1, 1, tzinfo=UTC) == since_when("999999d", now)
    with pytest.raises(InvalidRequest):
        since_when("9999999999999999999d", now)
