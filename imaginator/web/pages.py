"""Pages: templates, the filters that they write values with, and the one place where secrets are kept out of them.

Every value that a template shows passes the redactor, then HTML escaping.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from imaginator import __version__
from imaginator.model.build import BuildRecord, Stage
from imaginator.model.durations import format_size

_CONTROL = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # ECMA-48 control sequences: colours, cursor movements
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"  # operating system commands: window titles
    r"|[\x00-\x08\x0b-\x1f\x7f]"
)


class Pages:
    """Renders templates; ``redact`` replaces secrets, ``now`` tells the time that ages are counted to."""

    def __init__(self, redact: Callable[[str], str], now: Callable[[], datetime]) -> None:
        self._redact = redact
        self._now = now
        self._environment = Environment(
            loader=PackageLoader("imaginator.web"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            finalize=self._shown,
        )
        self._environment.globals.update(version=__version__, now=now, stages=list(Stage))
        self._environment.filters.update(
            when=self.when, until=self.until, lasted=self.lasted, duration=duration, size=format_size, link=link
        )

    def render(self, template: str, **values: object) -> bytes:
        """The page that ``template`` makes of ``values``, in UTF-8."""
        return self._environment.get_template(template).render(values).encode("utf-8", "replace")

    def _shown(self, value: Any) -> Any:
        """What is inserted for ``value``; markup is our own and holds nothing from outside but times."""
        return self._redact(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    def when(self, moment: datetime) -> Markup:
        """A time in the past as its age, with the exact time for whoever asks."""
        age = (self._now() - moment).total_seconds()
        return _time(moment, f"{duration(_coarse(age))} ago" if age >= 10 else "just now")

    def until(self, moment: datetime | None) -> Markup:
        """When something expires; None is never."""
        if moment is None:
            return Markup("never")
        left = (moment - self._now()).total_seconds()
        return _time(moment, f"in {duration(_coarse(left))}" if left > 0 else "expired")

    def lasted(self, record: BuildRecord) -> str:
        """How long a build took, or has taken so far; empty if it has not started."""
        if record.started_at is None:
            return ""
        end = record.finished_at or self._now()
        return duration((end - record.started_at).total_seconds())


def duration(seconds: float) -> str:
    """A length of time with no more than its two leading units; milliseconds below one second, tenths below ten."""
    if seconds < 1:
        return f"{max(seconds, 0) * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    units = ((whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "min"), (whole % 60, "s"))
    first = next(index for index, (count, _) in enumerate(units) if count)
    return " ".join(f"{count} {unit}" for count, unit in units[first : first + 2] if count)


def _coarse(seconds: float) -> float:
    """Whole minutes from one minute on: nobody asks for the seconds of an age."""
    return seconds if seconds < 60 else seconds - seconds % 60


def link(name: str) -> str:
    """A name as the query of an address."""
    return quote(name, safe="/:@~+,")


def plain_log(data: bytes) -> str:
    """A part of a build log as a page shows it: no colours, no other control characters, progress bars at their end."""
    lines = data.decode("utf-8", "replace").split("\n")
    return _CONTROL.sub("", "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in lines))


def _time(moment: datetime, text: str) -> Markup:
    exact = moment.astimezone(UTC)
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        exact.strftime("%Y-%m-%dT%H:%M:%SZ"), exact.strftime("%A %d %B %Y, %H:%M:%S UTC"), text
    )
