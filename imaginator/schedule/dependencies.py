"""Which stream builds on which, of all streams: found out by reading every manifest, and remembered.

Nobody's request owns the finding out: whoever asks meanwhile waits for the same result. What one repository or one
manifest has wrong is that of its streams, and nobody else's.
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterable, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, NamedTuple, TypeVar

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.logger import Logger
from twisted.python.failure import Failure

from imaginator.build.environment import fixed_variables
from imaginator.build.heads import Heads
from imaginator.build.sources import Sources
from imaginator.build.turns import Turns
from imaginator.model.clock import wall_time
from imaginator.model.durations import format_duration
from imaginator.model.errors import BuildFailed
from imaginator.model.graph import Graph
from imaginator.sandbox.process import Reactor
from imaginator.schedule.census import Census
from imaginator.schedule.configuration import Configuration
from imaginator.schedule.places import NO_PLAN, PlainManifest, Plan, Repository, Setting, look_at, plan_of
from imaginator.store.interface import ImageStore
from imaginator.store.workers import Workers

AT_ONCE = 4
"""Repositories that are asked at the same time."""

SLICE = 2000
"""Plain manifests that a worker thread looks at in one go."""

MOST_TOLD = 100
"""Streams with problems that the fetch log names."""

T = TypeVar("T")

_log = Logger()


class Snapshot(NamedTuple):
    """What is known: the graph of ``generated_at``, how it came about, and why the last attempt brought none, if so."""

    graph: Graph = Graph()
    fetch_log: str = ""
    generated_at: datetime | None = None
    attempted_at: datetime | None = None
    attempt_error: str = ""


class DependencyParts(NamedTuple):
    """What the graph is made from."""

    reactor: Reactor
    configuration: Configuration
    store: ImageStore
    sources: Sources
    workers: Workers


class Dependencies(Service):
    """Knows the graph of all streams; stopping it ends what is under way."""

    def __init__(self, parts: DependencyParts) -> None:
        self._parts = parts
        self._latest = Snapshot()
        self._census = self._planned = Census()
        self._plan = NO_PLAN
        self._is_whole = False
        self._work: Deferred[None] | None = None
        self._waiters: list[Deferred[None]] = []

    @property
    def latest(self) -> Snapshot:
        """What is known already."""
        return self._latest

    async def graph(self, max_age: float = 0.0) -> Graph:
        """The graph, as `look` has it; raises `BuildFailed` where none could be made yet."""
        found = await self.look(max_age)
        if found.generated_at is None:
            raise BuildFailed(f"the dependency graph cannot be made: {found.attempt_error}")
        return found.graph

    async def look(self, max_age: float = 0.0) -> Snapshot:
        """What is known, where it is of the configuration in force and at most ``max_age`` seconds old; else anew.

        Whoever asks while it is found out gets that, unless it is of a configuration before. Cancelling only forgets.
        """
        if not self._is_young(max_age):
            joins = self._work is not None
            await self._next()
            if joins and not self._is_of_the_configuration():
                await self._next()
        return self._latest

    async def choose(self, max_age: float, excludes: Sequence[str], includes: Sequence[str]) -> Snapshot:
        """The same of some streams only, as `Graph.chosen` has it."""
        found = await self.look(max_age)
        chosen = await self._parts.workers.run(found.graph.chosen, excludes, includes)
        return found._replace(graph=chosen)

    async def stopService(self) -> None:  # noqa: N802 - Twisted's name
        """End what is under way."""
        super().stopService()
        work = self._work
        if work is not None:
            work.cancel()
            await work

    def _is_young(self, max_age: float) -> bool:
        made = self._latest.generated_at
        if made is None or not self._is_of_the_configuration():
            return False
        return 0 <= (self._now() - made).total_seconds() < max_age  # the clock may have been set back

    def _is_of_the_configuration(self) -> bool:
        configuration = self._parts.configuration
        return self._census.is_of(configuration.settings, configuration.streams)

    def _now(self) -> datetime:
        return wall_time(self._parts.reactor)

    def _next(self) -> Deferred[None]:
        """Fires when what is found out now, or begun now, is known."""
        waiter: Deferred[None] = Deferred(self._waiters.remove)
        self._waiters.append(waiter)
        if self._work is None:
            self._work = Deferred.fromCoroutine(self._attempt())
            self._work.addBoth(self._tell)
        return waiter

    def _tell(self, result: Failure | None) -> None:
        """The work has ended; it fails only by being cancelled."""
        self._work = None
        waiters, self._waiters = self._waiters, []
        while waiters:
            waiters.pop(0).callback(result)

    async def _attempt(self) -> None:
        begun, heads = self._now(), Heads(self._parts.sources)
        told: list[str] = []
        try:
            graph = await self._generate(heads, told)
        except CancelledError:
            raise
        except Exception:
            _log.failure("the dependency graph cannot be made")
            self._latest = self._latest._replace(attempted_at=begun, attempt_error="the daemon's log tells more")
        else:
            self._latest = Snapshot(graph, "".join(f"{line}\n" for line in told), begun, begun)
        finally:
            await heads.close()

    async def _generate(self, heads: Heads, told: list[str]) -> Graph:
        """Look at every manifest; sources that are streams by a pattern are looked at, too, until there are no more."""
        parts = self._parts
        configuration = parts.configuration
        census = Census(
            configuration.settings, configuration.streams, await parts.store.streams(), self._census.followed
        )
        while True:
            setting = Setting(configuration.arch, configuration.secrets, configuration.redactor, fixed_variables())
            await self._prepare(census, setting)
            changed = await self._look(self._plan, heads, told)
            if self._is_whole and not changed and census == self._census:
                graph = self._latest.graph
                break
            self._is_whole = False  # until what was read now is in the graph
            graph, followers = await parts.workers.run(_concluded, census, self._plan, self._latest.graph)
            if not followers:
                break
            census = census._replace(followed=census.followed | followers)
        self._census = census._replace(followed=census.followed & graph.names)
        self._is_whole = True
        told += islice((f"{name}: {problem}" for name, problem in sorted(graph.problems.items())), MOST_TOLD)
        return graph

    async def _prepare(self, census: Census, setting: Setting) -> None:
        """Have a plan for these streams, whose manifests lie where ``setting`` puts them."""
        if not (self._plan.setting == setting and census.has_streams_of(self._planned)):
            self._plan = await self._parts.workers.run(_planned, census, setting, self._plan)
            self._planned = census

    async def _look(self, plan: Plan, heads: Heads, told: list[str]) -> bool:
        """Look at all manifests; whether anything may have changed."""
        turns = Turns(self._parts.reactor, AT_ONCE)
        looks = [self._look_at_plain(list(plan.plain.values()), told)] if plan.plain else []
        looks += [self._look_at_repository(one, heads, turns, told) for one in plan.repositories.values()]
        return any(await _all(looks))

    async def _look_at_plain(self, manifests: Sequence[PlainManifest], told: list[str]) -> bool:
        begun = self._parts.reactor.seconds()
        changed = 0
        for start in range(0, len(manifests), SLICE):
            some = manifests[start : start + SLICE]
            changed += await self._parts.workers.run(look_at, some, self._parts.configuration.redactor)
        told.append(f"plain directories: {len(manifests)} manifests, {changed} read ({self._since(begun)})")
        return changed > 0

    async def _look_at_repository(self, repository: Repository, heads: Heads, turns: Turns, told: list[str]) -> bool:
        async with turns.turn():
            begun, before = self._parts.reactor.seconds(), repository.found
            what = await repository.look(heads, self._parts.workers)
            told.append(f"{what} ({self._since(begun)})")
            return repository.found is not before

    def _since(self, begun: float) -> str:
        return format_duration(self._parts.reactor.seconds() - begun)


def _planned(census: Census, setting: Setting, earlier: Plan) -> Plan:
    definitions, errors = census.definitions()
    plan = plan_of(definitions, setting, earlier)
    return plan._replace(errors={**plan.errors, **errors})


def _concluded(census: Census, plan: Plan, latest: Graph) -> tuple[Graph, frozenset[str]]:
    """The graph, and the streams that have to be looked at before it is whole; the latest graph where it is equal."""
    graph = census.graph(plan.found())
    if graph == latest:
        graph = latest
    # Computed here, and remembered: it would keep the reactor.
    _ = graph.names, graph.problems, graph.unbuildable
    return graph, census.followers(graph)


async def _all(work: Iterable[Coroutine[Deferred[Any], Any, T]]) -> list[T]:
    """The results, when all has ended; raises what the first of it that failed raised."""
    ended: list[tuple[bool, Any]] = await DeferredList(
        [Deferred.fromCoroutine(one) for one in work], consumeErrors=True
    )
    for good, result in ended:
        if not good:
            result.raiseException()
    return [result for _, result in ended]
