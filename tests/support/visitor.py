"""A browser in memory: the pages of a `FakeBuilder`, asked without sockets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, cast

from treq.testing import StubTreq
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.task import Clock
from twisted.web.http_headers import Headers
from twisted.web.resource import IResource

from imaginator.model.journal import Entry
from imaginator.schedule.builder import Builder
from imaginator.store.workers import Workers
from imaginator.web.app import Web
from imaginator.web.view import WebParts
from tests.support.fake_builder import START, FakeBuilder


def one_worker() -> Workers:
    """A pool of one thread, which runs once its service is started."""
    from twisted.internet import reactor

    return Workers(1, cast(IReactorFromThreads, reactor))


class AtOnce:
    """Stands in for workers, and does everything at once."""

    def run(self, function: Callable[..., Any], *arguments: Any, **named: Any) -> Deferred[Any]:
        """What a function returns."""
        return maybeDeferred(function, *arguments, **named)


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: Headers
    text: str

    def header(self, name: str) -> str:
        """One header's value, empty where it is not there."""
        return (self.headers.getRawHeaders(name) or [""])[0]


class Visitor:
    """Visits the pages of ``builder`` at `START`, which `clock` can move on; ``more`` are further parts."""

    def __init__(
        self,
        builder: FakeBuilder,
        redact: Callable[[str], str] = str,
        rpc: Mapping[str, IResource] = MappingProxyType({}),
        recent_log: Callable[[], Sequence[Entry]] | None = None,
        **more: Any,
    ) -> None:
        self.clock = Clock()
        self.clock.advance(START.timestamp())
        workers = cast(Workers, AtOnce())
        web = Web(WebParts(cast("Builder", builder), workers, redact, self.clock, rpc, recent_log, **more))
        self._treq = StubTreq(web.resource())

    def get(self, path: str, accept: str = "text/html", method: str = "GET", **headers: str) -> Answer:
        """Ask for a page that is answered at once."""
        response = self.result(self.ask(path, accept, method, **headers))
        return Answer(response.code, response.headers, self.result(response.text()))

    def ask(self, path: str, accept: str = "text/html", method: str = "GET", **headers: str) -> Deferred[Any]:
        """Begin to ask for a page; of further headers ``_`` stands for a dash."""
        more = {name.replace("_", "-"): value for name, value in headers.items()}
        request: Callable[..., Deferred[Any]] = self._treq.request  # type: ignore[attr-defined]
        return request(method, f"http://imaginator.example{path}", headers={"Accept": accept, **more})

    def result(self, deferred: Deferred[Any]) -> Any:
        """What ``deferred`` fired with, after everything that was written is delivered."""
        results: list[Any] = []
        deferred.addCallback(results.append)
        self._treq.flush()
        assert results, "no answer yet"
        return results[0]
