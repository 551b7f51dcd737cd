"""What a caller is told when a call fails: one number, one sentence and details, the same in every protocol."""

from __future__ import annotations

import secrets

from imaginator.model.build import BuildFailure, BuildRecord, State
from imaginator.model.errors import BuildFailed, Cancelled, ImaginatorError

PARSE_ERROR = -32700
INVALID_CALL = -32600
UNKNOWN_METHOD = -32601
INTERNAL_ERROR = -32603
"""Of JSON-RPC 2.0; the other codes are those of `imaginator.model.errors`."""

DEEPEST_NESTING = 32
"""How many values may lie in one another in a body."""


class Fault(Exception):
    """A call's error as it goes to the caller; ``data`` holds JSON values, with ``kind`` for programs."""

    def __init__(self, code: int, message: str, data: dict[str, object]) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data


def fault_of(error: ImaginatorError) -> Fault:
    """The fault that tells of an error which has a sentence."""
    return Fault(error.code, str(error), {"kind": error.kind, **error.details()})


def fault_of_build(record: BuildRecord) -> Fault:
    """The fault that tells why a finished build brought no image."""
    failure = record.failure or _unexplained(record)
    data = {"kind": failure.kind, **failure.data, "BuildId": record.build_id}
    return Fault(failure.code, failure.message, data)


def invalid_call(sentence: str) -> Fault:
    """The fault of what is no call."""
    return Fault(INVALID_CALL, sentence, {"kind": "invalid-call"})


def unparsable(sentence: str) -> Fault:
    """The fault of a body that cannot be read."""
    return Fault(PARSE_ERROR, sentence, {"kind": "parse-error"})


def too_deep() -> Fault:
    """The fault of a body that is nested too deeply."""
    return unparsable(f"the body is nested deeper than {DEEPEST_NESTING} levels")


def internal_fault() -> Fault:
    """The fault of an unexpected error: it tells an incident id, under which the log has the rest."""
    incident = secrets.token_hex(4)
    message = f"internal error: the daemon's log tells more of incident {incident}"
    return Fault(INTERNAL_ERROR, message, {"kind": "internal", "Incident": incident})


def _unexplained(record: BuildRecord) -> BuildFailure:
    kind = Cancelled if record.state is State.CANCELLED else BuildFailed
    return BuildFailure(kind.code, kind.kind, f"build {record.build_id} ended: {record.state}")
