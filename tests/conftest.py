"""What every test gets: a reactor that is left as it was found; and what is printed in the end."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.defer import CancelledError
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

from tests.support.printed import COUNTS, FIGURES


@pytest.fixture(autouse=True)
def clean_reactor() -> Iterator[list[Failure]]:
    """No test leaves delayed calls or unnoticed failures behind; one that expects failures clears the list."""
    from twisted.internet import reactor

    before = set(reactor.getDelayedCalls())
    failures: list[Failure] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        failure = event.get("log_failure")
        if failure is not None and not failure.check(CancelledError):
            failures.append(failure)

    globalLogPublisher.addObserver(observe)
    yield failures
    gc.collect()  # a Deferred's unhandled failure is logged when the Deferred is collected
    globalLogPublisher.removeObserver(observe)
    left = [call for call in reactor.getDelayedCalls() if call not in before]
    for call in left:
        call.cancel()
    assert not failures, failures
    assert not left, left


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Let a worker of pytest-xdist tell what it has to print."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output.update(counts=dict(COUNTS), figures=FIGURES)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take it from a worker."""
    told = getattr(node, "workeroutput", {})
    COUNTS.update(told.get("counts", {}))
    FIGURES.extend(told.get("figures", []))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how often each fault was tried, what abuse came to, and how much hostile input there was."""
    for what, count in sorted(COUNTS.items()):
        terminalreporter.write_line(f"faults: {count:4} x {what}")
    for line in FIGURES:
        terminalreporter.write_line(f"abuse: {line}")
    passed = terminalreporter.getreports("passed")
    hostile = [report for report in passed if "/hostile/" in report.nodeid and report.when == "call"]
    if hostile:
        slowest = sorted(hostile, key=lambda report: -report.duration)[:3]
        told = ", ".join(f"{report.nodeid.rpartition('::')[2]} {report.duration:.2f} s" for report in slowest)
        pairs = f"{len(hostile)} pairs of an entry point and a defect"
        terminalreporter.write_line(f"hostile input: {pairs}; slowest: {told}")
