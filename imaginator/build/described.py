"""What a bootstrap stream's files say of its image: filter, tags and triggers, each at a URL of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from imaginator.build.environment import shown_secrets
from imaginator.build.fetch import Fetcher
from imaginator.build.job import Job
from imaginator.build.retry import Tell
from imaginator.model.codec import decode_json
from imaginator.model.errors import ConfigurationError
from imaginator.model.giturl import without_password
from imaginator.model.image import Trigger
from imaginator.model.manifest import decode_filter
from imaginator.model.problems import Problem
from imaginator.model.redaction import Redactor
from imaginator.model.settings import BootstrapStream
from imaginator.model.triggers import decode_triggers
from imaginator.model.variables import expand
from imaginator.store.workers import Workers


class Description(NamedTuple):
    """What is said of an image; no filter and no triggers differ from empty ones. Tags are not expanded yet."""

    filter: tuple[str, ...] | None = None
    tags: dict[str, str] | None = None
    triggers: tuple[Trigger, ...] | None = None


class _File(NamedTuple):
    """A file that a stream names: what it says, where it is, how that is shown, and what decodes it."""

    kind: str
    url: str
    shown: str
    decode: Callable[[bytes, str], Any]


async def fetch_description(
    fetcher: Fetcher, workers: Workers, job: Job, definition: BootstrapStream, tell: Tell | None = None
) -> Description:
    """Fetch and check the files of a bootstrap stream; for who has a ``tell``, servers are asked again.

    Raises `ConfigurationError` with all that is wrong with them; secrets in their URLs are shown by name.
    """
    redactor = await workers.run(Redactor, job.secrets)
    said: dict[str, Any] = {}
    problems: list[Problem] = []
    for file in _files(job, definition):
        try:
            fetched = await fetcher.fetch(file.url, shown=file.shown, redactor=redactor, tell=tell)
            assert fetched.data is not None  # nothing was known of the file
            said[file.kind] = await workers.run(file.decode, fetched.data, file.shown)
        except ConfigurationError as error:
            problems += error.problems
    if problems:
        raise ConfigurationError.of(problems)
    return Description(**said)


def _files(job: Job, definition: BootstrapStream) -> Iterator[_File]:
    public = {**shown_secrets(job.secrets), "ARCH": job.arch}
    named: tuple[tuple[str, str, Callable[[bytes, str], Any]], ...] = (
        ("filter", definition.image_filter_url, decode_filter),
        ("tags", definition.image_tags_url, _decode_tags),
        ("triggers", definition.image_triggers_url, decode_triggers),
    )
    for kind, url, decode in named:
        if url:
            shown = without_password(expand(url, public))
            yield _File(kind, expand(url, {**job.secrets, "ARCH": job.arch}), shown, decode)


def _decode_tags(data: bytes, where: str) -> dict[str, str]:
    return decode_json(data, dict[str, str], where)
