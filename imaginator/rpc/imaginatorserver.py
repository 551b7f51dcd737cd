"""Dominator's methods of an imaginator, over the ones that we have: durations in nanoseconds, logs as they grow."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from imaginator.model.build import State
from imaginator.model.errors import NotFound
from imaginator.rpc.callers import Admitted
from imaginator.rpc.faults import Fault, fault_of_build
from imaginator.rpc.methods import BUILDING
from imaginator.rpc.operations import Operations
from imaginator.srpc import filesystem as wire
from imaginator.srpc import messages as said
from imaginator.srpc.call import Call
from imaginator.srpc.images import moment, whole_to_wire
from imaginator.srpc.kinds import Moment
from imaginator.srpc.server import Answering, Methods, Speaking
from imaginator.store.workers import Workers

if TYPE_CHECKING:
    from imaginator.schedule.builder import Builder
    from imaginator.schedule.logview import LogView

_SECOND = 10**9
_MOMENT = 0.1
_BLOCK = 1 << 16
_LONGEST_LOG = 16 << 20
"""Bytes of a log that is not streamed; of a longer one the end is told."""


class ImaginatorServer:
    """The methods of the service ``Imaginator``; whoever calls is what `Operations` takes for an identity."""

    def __init__(self, clock: IReactorTime, operations: Operations, builder: Builder, workers: Workers) -> None:
        self._clock = clock
        self._operations = operations
        self._builder = builder
        self._workers = workers

    def methods(self) -> Methods:
        """The table."""
        return {
            BUILDING: Speaking(self._build),
            "Imaginator.DisableAutoBuilds": Answering(said.DisableAutoBuildsRequest, self._disable_auto_builds),
            "Imaginator.DisableBuildRequests": Answering(said.DisableBuildRequestsRequest, self._disable_requests),
            "Imaginator.GetDependencies": Answering(said.GetDependenciesRequest, self._dependencies, large=True),
            "Imaginator.GetDirectedGraph": Answering(said.GetDirectedGraphRequest, self._graph, large=True),
            "Imaginator.StartAutoBuilds": Answering(said.StartAutoBuildsRequest, self._start_auto_builds),
        }

    async def _build(self, call: Call) -> None:
        request = await call.receive(said.BuildImageRequest)
        await call.accept()
        try:
            answer = await self._built(call, request)
        except Fault as fault:
            answer = _refusal(fault)
        await call.send(answer, large=answer.image is not None)

    async def _built(self, call: Call, request: said.BuildImageRequest) -> said.BuildImageResponse:
        submitted = await self._operations.perform("Imaginator.SubmitBuild", _parameters(request), call.caller.identity)
        build_id = submitted["BuildId"]
        log = await self._log(build_id)
        if log is not None and request.stream_build_log:
            await self._stream(call, log)
        record = await self._builder.wait(build_id)
        told = b"" if log is None or request.stream_build_log else await self._whole_log(log)
        if record.state is not State.SUCCEEDED:
            return _refusal(self._operations.redacted(fault_of_build(record)), told)
        image = await self._image(record.image_name) if request.return_image else None
        return said.BuildImageResponse(image=image, image_name=record.image_name, build_log=told)

    async def _log(self, build_id: str) -> LogView | None:
        """The log of a build, once it has begun; None where it has ended without."""
        while True:
            with contextlib.suppress(NotFound):
                return await self._builder.log(build_id)
            if (await self._builder.get(build_id)).state.final:
                return None
            await deferLater(self._clock, _MOMENT)

    async def _stream(self, call: Call, log: LogView) -> None:
        offset = 0
        while not (log.finished and offset == log.size):
            await log.grown(offset)
            data = await log.read(offset, _BLOCK)
            offset += len(data)
            if data:
                await call.send(said.BuildImageResponse(build_log=data))

    async def _whole_log(self, log: LogView) -> bytes:
        return await log.read(max(log.size - _LONGEST_LOG, 0), _LONGEST_LOG)

    async def _image(self, name: str) -> wire.Image:
        store = self._builder.store
        return await self._workers.run(whole_to_wire, await store.get(name), store.nodes())

    async def _disable_auto_builds(
        self, caller: Admitted, request: said.DisableAutoBuildsRequest
    ) -> said.DisableAutoBuildsResponse:
        until, error = await self._disabled("Imaginator.DisableAutoBuilds", caller, request.disable_for)
        return said.DisableAutoBuildsResponse(until, error)

    async def _disable_requests(
        self, caller: Admitted, request: said.DisableBuildRequestsRequest
    ) -> said.DisableBuildRequestsResponse:
        until, error = await self._disabled("Imaginator.DisableBuildRequests", caller, request.disable_for)
        return said.DisableBuildRequestsResponse(until, error)

    async def _disabled(self, name: str, caller: Admitted, nanoseconds: int) -> tuple[Moment | None, str]:
        result, error = await self._performed(name, caller, {"DisableFor": nanoseconds / _SECOND})
        return _moment(result.get("DisabledUntil")), error

    async def _start_auto_builds(
        self, caller: Admitted, request: said.StartAutoBuildsRequest
    ) -> said.StartAutoBuildsResponse:
        wait = {"WaitToStart": request.wait_to_start, "WaitForComplete": request.wait_for_complete}
        _, error = await self._performed("Imaginator.StartAutoBuilds", caller, wait)
        return said.StartAutoBuildsResponse(error)

    async def _dependencies(
        self, caller: Admitted, request: said.GetDependenciesRequest
    ) -> said.GetDependenciesResponse:
        age = {"MaxAge": max(request.max_age, 0) / _SECOND}
        found, error = await self._performed("Imaginator.GetDependencies", caller, age)
        if error:
            return said.GetDependenciesResponse(error=error)
        result = said.GetDependenciesResult(
            stream_to_source=found["StreamToSource"],
            unbuildable_sources={name: said.Nothing() for name in found["UnbuildableSources"]},
            **_attempt(found),
        )
        return said.GetDependenciesResponse(get_dependencies_result=result)

    async def _graph(self, caller: Admitted, request: said.GetDirectedGraphRequest) -> said.GetDirectedGraphResponse:
        wanted = {
            "MaxAge": max(request.max_age, 0) / _SECOND,
            "Excludes": request.excludes,
            "Includes": request.includes,
        }
        found, error = await self._performed("Imaginator.GetDirectedGraph", caller, wanted)
        if error:
            return said.GetDirectedGraphResponse(error=error)
        result = said.GetDirectedGraphResult(graphviz_dot=found["GraphvizDot"].encode(), **_attempt(found))
        return said.GetDirectedGraphResponse(get_directed_graph_result=result)

    async def _performed(
        self, name: str, caller: Admitted, parameters: Mapping[str, object]
    ) -> tuple[dict[str, Any], str]:
        """The result of a method, or why there is none."""
        try:
            return await self._operations.perform(name, parameters, caller.identity), ""
        except Fault as fault:
            return {}, fault.message


def _parameters(request: said.BuildImageRequest) -> dict[str, object]:
    return {
        "StreamName": request.stream_name,
        "GitBranch": request.git_branch,
        "ExpiresIn": request.expires_in / _SECOND,
        "MaxSourceAge": request.max_source_age / _SECOND,
        "MaximumBuildDuration": request.maximum_build_duration / _SECOND,
        "Variables": request.variables,
        "DisableRecursiveBuild": request.disable_recursive_build,
    }


def _refusal(fault: Fault, log: bytes = b"") -> said.BuildImageResponse:
    return said.BuildImageResponse(
        error_string=fault.message,
        build_log=log,
        need_source_image=bool(fault.data.get("NeedSourceImage")),
        source_image=str(fault.data.get("SourceImage", "")),
    )


def _attempt(found: dict[str, Any]) -> dict[str, Any]:
    """What is said of when and how a graph was made."""
    return {
        "fetch_log": found["FetchLog"].encode(),
        "generated_at": _moment(found["GeneratedAt"]),
        "last_attempt_at": _moment(found["LastAttemptAt"]),
        "last_attempt_error": found["LastAttemptError"],
    }


def _moment(text: str | None) -> Moment | None:
    return None if text is None else moment(datetime.fromisoformat(text))
