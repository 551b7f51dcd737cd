"""Pages: templates, the filters that they write values with, and the one place where secrets are kept out of them.

Every value that a template shows passes the redactor, then HTML escaping.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Generator
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from markupsafe import Markup

from imaginator import __version__
from imaginator.model.build import BuildRecord, Stage
from imaginator.model.durations import format_size
from imaginator.model.tree import Inode, Kind
from imaginator.store.contrast import Directory

if TYPE_CHECKING:
    from jinja2 import Environment

_MINUS = "\N{MINUS SIGN}"

_FILE_TYPES = {
    Kind.DIRECTORY: stat.S_IFDIR,
    Kind.REGULAR: stat.S_IFREG,
    Kind.COMPUTED: stat.S_IFREG,
    Kind.SYMLINK: stat.S_IFLNK,
    Kind.CHARACTER: stat.S_IFCHR,
    Kind.BLOCK: stat.S_IFBLK,
    Kind.FIFO: stat.S_IFIFO,
}


class Pages:
    """Renders templates; ``redact`` replaces secrets, ``now`` tells the time that ages are counted to."""

    def __init__(self, redact: Callable[[str], str], now: Callable[[], datetime]) -> None:
        self._redact = redact
        self._now = now

    @cached_property
    def _environment(self) -> Environment:
        from jinja2 import Environment, PackageLoader, StrictUndefined  # a start needs no page, and it takes long

        environment = Environment(
            loader=PackageLoader("imaginator.web"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            finalize=self._shown,
        )
        environment.globals.update(version=__version__, now=self._now, stages=list(Stage))
        environment.filters.update(
            when=self.when, until=self.until, lasted=self.lasted, duration=duration, size=format_size, link=link,
            ticking=self.ticking, age=self.age,
            path=path_text, path_link=path_link, last_part=last_part, mode=mode_text, modified=modified,
            growth=growth, numbers=numbers,
        )  # fmt: skip
        return environment

    def render(self, template: str, **values: object) -> bytes:
        """The page that ``template`` makes of ``values``, in UTF-8."""
        return self._environment.get_template(template).render(values).encode("utf-8", "replace")

    def parts(self, template: str, **values: object) -> Generator[bytes]:
        """The same in parts as they are made, which may be by a thread."""
        for part in self._environment.get_template(template).generate(values):
            yield part.encode("utf-8", "replace")

    def _shown(self, value: Any) -> Any:
        """What is inserted for ``value``; markup is our own and holds nothing from outside but times."""
        return self._redact(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    def when(self, moment: datetime) -> Markup:
        """A time in the past as its age, with the exact time for whoever asks."""
        age = (self._now() - moment).total_seconds()
        return _time(moment, f"{duration(_coarse(age))} ago" if age >= 10 else "just now", ages=True)

    def until(self, moment: datetime | None) -> Markup:
        """When something expires; None is never."""
        if moment is None:
            return Markup("never")
        left = (moment - self._now()).total_seconds()
        return _time(moment, f"in {duration(_coarse(left))}" if left > 0 else "expired", ages=left > 0)

    def lasted(self, record: BuildRecord) -> str:
        """How long a build took, or has taken so far; empty if it has not started.

        Its stages tell it better than the clock, which may have been set meanwhile.
        """
        if record.started_at is None:
            return ""
        if record.finished_at is not None and record.stages:
            return duration(sum(time.seconds for time in record.stages))
        end = record.finished_at or self._now()
        return duration((end - record.started_at).total_seconds())

    def ticking(self, record: BuildRecord) -> str | Markup:
        """The same, such that a browser lets it go on while the build does."""
        if record.started_at is None or record.finished_at is not None:
            return self.lasted(record)
        return Markup('<time data-since="{}">{}</time>').format(record.started_at.timestamp(), self.lasted(record))

    def age(self, record: BuildRecord) -> float:
        """For how many seconds a build has been at work."""
        return (self._now() - record.started_at).total_seconds() if record.started_at else 0.0


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


def path_text(path: bytes) -> str:
    """A path as people can read it, whatever bytes it has."""
    text = path.decode("utf-8", "backslashreplace")
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def path_link(path: bytes) -> str:
    """A path as the value of an option in an address."""
    return quote(path, safe="/:@~+,")


def last_part(path: bytes) -> str:
    """The name of a file, for people; of the root its path."""
    return path_text(path.rpartition(b"/")[2] or path)


def modified(nanoseconds: int) -> Markup:
    """A file's time, to the second."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=nanoseconds // 10**9)
    return _time(moment, moment.strftime("%Y-%m-%d %H:%M:%S"))


def mode_text(inode: Inode) -> str:
    """What kind of file it is and who may do what with it, as ``ls`` shows it."""
    return stat.filemode(_FILE_TYPES[inode.kind] | inode.mode)


def growth(count: int) -> str:
    """By how many bytes something has grown, or shrunk."""
    sign = "+" if count > 0 else _MINUS if count < 0 else ""
    return f"{sign}{format_size(abs(count))}"


def numbers(directory: Directory) -> str:
    """How many files of a directory differ, and by how much."""
    of = directory.sum
    counts = {"added": of.added, "removed": of.removed, "changed": of.changed}
    words = [f"{count:,} {word}" for word, count in counts.items() if count]
    return ", ".join([*words, growth(of.growth)] if of.growth else words)


def _time(moment: datetime, text: str, ages: bool = False) -> Markup:
    """A time that says in full what it is; one that ``ages`` is kept up to date by a browser."""
    exact = moment.astimezone(UTC)
    return Markup('<time datetime="{}" title="{}"{}>{}</time>').format(
        exact.strftime("%Y-%m-%dT%H:%M:%SZ"),
        exact.strftime("%A %d %B %Y, %H:%M:%S UTC"),
        Markup(" data-age") if ages else "",
        text,
    )
