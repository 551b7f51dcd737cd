"""One piece of work for many who wait."""

from __future__ import annotations

import pytest
import pytest_twisted
from twisted.internet.defer import CancelledError, Deferred

from imaginator.build.sharing import Shared
from imaginator.model.errors import BuildFailed


@pytest_twisted.ensureDeferred
async def test_all_get_what_one_piece_of_work_gives() -> None:
    """Before and after its end; who goes away changes nothing for the others."""
    work: Deferred[str] = Deferred()
    shared = Shared(work)
    first, gone = shared.result(), shared.result()
    gone.cancel()
    work.callback("done")

    with pytest.raises(CancelledError):
        await gone
    assert ["done", "done", "done"] == [await first, await shared.result(), await shared.result()]


@pytest_twisted.ensureDeferred
async def test_all_get_what_it_raises() -> None:
    """Every one of them."""
    work: Deferred[str] = Deferred()
    shared = Shared(work)
    first = shared.result()
    work.errback(BuildFailed("no mirror"))

    for waiting in (first, shared.result()):
        with pytest.raises(BuildFailed, match="no mirror"):
            await waiting


@pytest_twisted.ensureDeferred
async def test_the_work_itself_can_be_ended() -> None:
    """All who wait learn of it."""
    work: Deferred[str] = Deferred()
    shared = Shared(work)
    waiting = shared.result()
    await shared.end()

    with pytest.raises(CancelledError):
        await waiting
    assert work.called
