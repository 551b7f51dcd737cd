"""Everything that can be told to a user in one sentence.

The text of an error is for people; ``code`` and ``kind`` are for programs and stay stable: JSON-RPC errors and
XML-RPC faults carry ``code``, their data carries ``kind`` and ``details()``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from imaginator.model.problems import Problem


class ImaginatorError(Exception):
    """The root: a failure with a sentence that says what, where, and what was expected."""

    code: ClassVar[int] = -32603
    kind: ClassVar[str] = "internal"

    def details(self) -> dict[str, object]:
        """The fields beside the sentence, as JSON values."""
        return {}


class ConfigurationError(ImaginatorError):
    """Something that an operator or a manifest's author wrote is wrong.

    ``where`` names the file or URL; ``problem`` says what was found and what was expected, ``line`` and ``column``
    where, as far as known. The sentence is the first problem's, and counts the rest of them.
    """

    code = -32005
    kind = "configuration"

    def __init__(self, where: str, problem: str, line: int = 0, column: int = 0) -> None:
        self.problems: tuple[Problem, ...] = (Problem(where, problem, line, column),)
        super().__init__(str(self.problems[0]))

    @classmethod
    def of(cls, problems: Sequence[Problem]) -> ConfigurationError:
        """The error of one or more problems."""
        error = cls(problems[0].where, problems[0].words)
        error.problems = tuple(problems)
        more = f" (and {len(problems) - 1} more)" if problems[1:] else ""
        error.args = (f"{problems[0]}{more}",)
        return error

    @property
    def where(self) -> str:
        """The file or URL."""
        return self.problems[0].where

    @property
    def problem(self) -> str:
        """What is wrong first of all."""
        return self.problems[0].words

    def details(self) -> dict[str, object]:
        """Every problem with its place."""
        return {"Problems": [problem.plain() for problem in self.problems]}


class Unreachable(ConfigurationError):
    """What an operator named cannot be had from its server just now; another try may do."""


class InvalidRequest(ImaginatorError):
    """The request's fields do not make sense: wrong type, missing, out of range."""

    code = -32602
    kind = "invalid-request"


class NotAuthenticated(ImaginatorError):
    """The caller showed no client certificate."""

    code = -32001
    kind = "not-authenticated"


class NotPermitted(ImaginatorError):
    """The caller is known but may not do this."""

    code = -32002
    kind = "not-permitted"


class NotFound(ImaginatorError):
    """No such stream, image or build."""

    code = -32003
    kind = "not-found"


class Refused(ImaginatorError):
    """Refused by a limit or a state: builds disabled, expiry out of range, queue."""

    code = -32004
    kind = "refused"


class BuildFailed(ImaginatorError):
    """A step of a build failed; the sentence names the step and shows its last output."""

    code = -32005
    kind = "build-failed"


class SourceImageNeeded(ImaginatorError):
    """The source image is missing or too old, and building it was not asked for."""

    code = -32006
    kind = "source-image-needed"

    def __init__(self, message: str, source: str) -> None:
        super().__init__(message)
        self.source = source

    def details(self) -> dict[str, object]:
        """The flag and the name that the original's reply had."""
        return {"NeedSourceImage": True, "SourceImage": self.source}


class Cancelled(ImaginatorError):
    """The build was cancelled."""

    code = -32007
    kind = "cancelled"


class TimedOut(ImaginatorError):
    """The build or one of its commands ran out of time."""

    code = -32008
    kind = "timed-out"


class StoreCorrupt(ImaginatorError):
    """The store does not hold what its catalogue promises."""

    code = -32603
    kind = "store-corrupt"


class StoreUnwritable(ImaginatorError):
    """The catalogue cannot be written now: a full disk, say, or one that is read-only. What was asked for is undone."""

    code = -32009
    kind = "store-unwritable"
