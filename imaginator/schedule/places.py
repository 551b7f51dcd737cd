"""Where each stream's manifest lies, and which source it names there; remembered from one look to the next.

Plain directories are looked at in worker threads. Of a repository nothing is read again while its commit is the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from imaginator.build.environment import environment_of
from imaginator.build.gathering import Answer
from imaginator.build.glance import NO_VERSION, Glances, is_version, manifest_path
from imaginator.build.heads import Heads
from imaginator.build.locations import locate, shown_place, source_stream
from imaginator.build.sources import PLAIN, SourceLocation, relative_directory
from imaginator.model.errors import BuildFailed, ConfigurationError, ImaginatorError
from imaginator.model.giturl import check_length
from imaginator.model.manifest import decode_source_image
from imaginator.model.redaction import Redactor
from imaginator.model.streams import Stream
from imaginator.model.uses import stream_uses
from imaginator.model.variables import check_without_secrets, stream_variables
from imaginator.store.workers import Workers

Found = str | ImaginatorError
"""A stream's source, or why it is not known."""

Text = str | ImaginatorError
"""A manifest's ``SourceImage``, not expanded, or what is wrong with the manifest."""


class Setting(NamedTuple):
    """What holds for all streams; ``fixed`` are the variables that none can change."""

    arch: str
    secrets: Mapping[str, str]
    redactor: Redactor
    fixed: Mapping[str, str]


class Place(NamedTuple):
    """Where a stream's manifest lies: the location's directory is relative, without ``.`` in it.

    ``where`` is what it is called in errors.
    """

    stream: str
    definition: Stream
    location: SourceLocation
    where: str
    variables: Mapping[str, str]
    setting: Setting

    def source(self, text: Text, commit: str = "") -> Found:
        """The source that ``SourceImage`` means in a build of ``commit`` (empty: none)."""
        if isinstance(text, ImaginatorError):
            return text
        try:
            if self.setting.secrets:
                check_without_secrets([("SourceImage", text)], self.setting.secrets, self.where)
            return source_stream(text, environment_of(self.variables, commit, self.setting.fixed), self.where)
        except ConfigurationError as error:
            return error


def place_of(stream: str, definition: Stream, setting: Setting) -> Place:
    """Where the manifest of a stream lies; raises `ConfigurationError` where it can lie nowhere."""
    if setting.secrets:
        check_without_secrets(stream_uses(definition), setting.secrets, stream)
    variables = stream_variables(stream, setting.arch, definition.variables)
    written = locate(definition, variables, setting.secrets)
    check_length(written.url, written.shown)
    directory = relative_directory(written)
    location = written if directory == written.directory else written._replace(directory=directory)
    return Place(stream, definition, location, shown_place(location, setting.redactor), variables, setting)


class PlainManifest:
    """The manifest of one stream, in a plain directory; ``found`` is its source, as that ``version`` has it."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.found: Found = ""
        self.path = manifest_path(place.location)
        self.version = NO_VERSION

    def read(self, glances: Glances) -> None:
        """Read it."""
        self.version = NO_VERSION
        try:
            data, self.version = glances.read(self.place.location)
            text = decode_source_image(data, f"{self.place.where}/manifest")
        except ConfigurationError as error:
            self.found = error
        except OSError as error:
            self.found = ConfigurationError(self.place.where, f"cannot be read: {error.strerror or error}")
        else:
            self.found = self.place.source(text)


def look_at(manifests: Iterable[PlainManifest], redactor: Redactor) -> int:
    """Read the manifests that are not what they were, and say how many; for worker threads."""
    changed = [one for one in manifests if one.version is NO_VERSION or not is_version(one.path, one.version)]
    with Glances(redactor) as glances:
        for manifest in changed:
            manifest.read(glances)
    return len(changed)


class Repository:
    """The manifests of all streams of one repository; ``found`` are their sources. It knows what ``earlier`` knew."""

    def __init__(self, places: Sequence[Place], earlier: Repository | None) -> None:
        self.places = places
        self.found: dict[str, Found] = {}
        self._commit: str = earlier._commit if earlier else ""
        self._texts: Mapping[str, Text] = earlier._texts if earlier else {}
        self._complete = False

    async def look(self, heads: Heads, workers: Workers) -> str:
        """Ask for its commit, and read what is new of it; what was done, for people. An error is every stream's.

        There is another ``found`` if anything changed.
        """
        try:
            return await self._look(heads, workers)
        except ImaginatorError as error:
            return self._fail(error)
        except OSError as error:
            shown = self.places[0].location.shown
            return self._fail(BuildFailed(f"{shown}: {error.strerror or error}"))

    async def _look(self, heads: Heads, workers: Workers) -> str:
        location, redactor = self.places[0].location, self.places[0].setting.redactor
        commit = await heads.of(location, redactor)
        if commit != self._commit:
            self._commit, self._texts, self._complete = commit, {}, False
        wanted = sorted({place.location.directory for place in self.places} - self._texts.keys())
        if wanted:
            answers = await heads.sources.manifests(location, commit, wanted, redactor)
            self._texts = {**self._texts, **await workers.run(_texts, answers, self.places)}
        if not self._complete:
            self.found = await workers.run(self._expanded)
            self._complete = True
        return f"{location.shown}: commit {commit}, {len(wanted)} manifests read"

    def _expanded(self) -> dict[str, Found]:
        return {
            place.stream: place.source(self._texts[place.location.directory], self._commit) for place in self.places
        }

    def _fail(self, error: ImaginatorError) -> str:
        self.found = {place.stream: error for place in self.places}
        self._complete = False
        return str(error)


def _texts(answers: Mapping[str, Answer], places: Sequence[Place]) -> dict[str, Text]:
    """What manifests say, by directory."""
    where = {place.location.directory: place.where for place in places}
    return {directory: _text(answer, f"{where[directory]}/manifest") for directory, answer in answers.items()}


def _text(answer: Answer, where: str) -> Text:
    if isinstance(answer, ConfigurationError):
        return answer
    try:
        return decode_source_image(answer, where)
    except ConfigurationError as error:
        return error


class Plan(NamedTuple):
    """Where all manifests lie: those in plain directories by stream, repositories by URL; ``errors`` by stream."""

    setting: Setting
    plain: Mapping[str, PlainManifest]
    repositories: Mapping[str, Repository]
    errors: Mapping[str, ImaginatorError]

    def found(self) -> dict[str, Found]:
        """What is known of each stream."""
        found: dict[str, Found] = {name: manifest.found for name, manifest in self.plain.items()}
        for repository in self.repositories.values():
            found.update(repository.found)
        found.update(self.errors)
        return found


NO_PLAN = Plan(Setting("", {}, Redactor({}), {}), {}, {}, {})


def plan_of(definitions: Mapping[str, Stream], setting: Setting, earlier: Plan) -> Plan:
    """A plan for these streams; what is still so of an earlier one is not found out again. For worker threads."""
    known = earlier.plain if earlier.setting == setting else {}
    plain: dict[str, PlainManifest] = {}
    places: dict[str, list[Place]] = defaultdict(list)
    errors: dict[str, ImaginatorError] = {}
    for stream, definition in definitions.items():
        manifest = known.get(stream)
        if manifest is not None and manifest.place.definition == definition:
            plain[stream] = manifest
            continue
        try:
            place = place_of(stream, definition, setting)
        except ConfigurationError as error:
            errors[stream] = error
            continue
        if place.location.url.startswith(PLAIN):
            plain[stream] = PlainManifest(place)
        else:
            places[place.location.url].append(place)
    repositories = {url: _repository(some, earlier.repositories.get(url)) for url, some in places.items()}
    return Plan(setting, plain, repositories, errors)


def _repository(places: Sequence[Place], earlier: Repository | None) -> Repository:
    return earlier if earlier is not None and earlier.places == places else Repository(places, earlier)
