"""The page of the store."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest

from imaginator.store.usage import Usage
from imaginator.web.store_page import MOST_ROWS
from tests.support.fake_builder import START, FakeBuilder
from tests.support.visitor import Visitor


class Samples:
    """The record of a store, of a fixed content."""

    def __init__(self, samples: Sequence[Usage]) -> None:
        self.samples = samples
        self.latest = samples[-1]
        self.asked: datetime | None = None

    async def current(self) -> Usage:
        """The last one."""
        return self.latest

    async def since(self, moment: datetime) -> Sequence[Usage]:
        """Those from a moment on."""
        self.asked = moment
        return [sample for sample in self.samples if sample.at >= moment]


HOURS = Samples([Usage(START - timedelta(hours=100 - n), n, 10 * n, n << 20, 5 << 30, 9 << 30) for n in range(101)])


def test_it_is_drawn() -> None:
    """Each number has a chart with a sentence for those who do not see it, and the last ones stand at the top."""
    answer = Visitor(FakeBuilder(), usage=HOURS).get("/showStore")

    assert 200 == answer.status
    assert 4 == answer.text.count('role="img"')
    assert 'aria-label="Images: 0 at first, 100 now, between 0 and 100 meanwhile."' in answer.text
    assert "<b>1,000</b> objects" in answer.text
    assert "<b>5.0 GiB</b> free of 9.0 GiB" in answer.text
    assert MOST_ROWS == answer.text.count("UTC</td>")


@pytest.mark.parametrize(("word", "days"), [("day", 1), ("week", 7), ("month", 31), ("year", 366)])
def test_how_far_back(word: str, days: int) -> None:
    """As the address says."""
    samples = Samples(HOURS.samples)
    answer = Visitor(FakeBuilder(), usage=samples).get(f"/showStore?range={word}")

    assert samples.asked == START - timedelta(days=days)
    assert f'range={word}" aria-current="page"' in answer.text


def test_another_word() -> None:
    """What is no range is refused with those that are."""
    answer = Visitor(FakeBuilder(), usage=HOURS).get("/showStore?range=<b>", accept="text/plain")

    assert (400, "range '<b>': expected one of day, week, month, year\n") == (answer.status, answer.text)


def test_nothing_yet() -> None:
    """Before anything was kept the page shows how it is now; where nothing is there is no page, nor a link."""
    assert (
        "Images: 100 at first, 100 now"
        in Visitor(FakeBuilder(), usage=Samples(HOURS.samples[-1:])).get("/showStore").text
    )
    assert "/showStore" in Visitor(FakeBuilder(), usage=HOURS).get("/").text
    assert 404 == Visitor(FakeBuilder()).get("/showStore").status
    assert "/showStore" not in Visitor(FakeBuilder()).get("/").text
