"""A line of the daemon's log for each build that ends, so that a host's journal tells what was built, and what not."""

from __future__ import annotations

from twisted.logger import Logger

from imaginator.model.build import BuildRecord, State
from imaginator.model.durations import format_duration

LONGEST = 300
"""Letters of a failure's sentence; the build's page has all of it."""

_log = Logger()


def tell_end(record: BuildRecord) -> None:
    """A build has changed; a line is written where that is its end."""
    if not record.state.final:
        return
    took = format_duration(round(sum(time.seconds for time in record.stages), 1))
    write = _log.warn if record.state is State.FAILED else _log.info
    write(
        "build {id} of {stream}: {state} after {took}{result}",
        id=record.build_id,
        stream=record.request.stream_name,
        state=record.state.value,
        took=took,
        result=_result(record),
    )


def _result(record: BuildRecord) -> str:
    if record.failure is not None:
        first = record.failure.message.partition("\n")[0]
        return f": {first[:LONGEST]}"
    return f": {record.image_name}"
