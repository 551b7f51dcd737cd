"""An image manifest's texts as one value, checked before anything is unpacked or run.

Which files there are, and in which order they count, is section 6 of the specification; reading them from a directory
is `imaginator.build.sources`' work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

import msgspec

from imaginator.model.codec import JsonFile, decode_json, decode_text
from imaginator.model.errors import ConfigurationError
from imaginator.model.filters import check_count, check_lines, compile_line
from imaginator.model.image import Owners, Trigger
from imaginator.model.names import check_stream_name
from imaginator.model.problems import Problem, Warn, bounded, untold
from imaginator.model.triggers import decode_triggers
from imaginator.model.variables import check_variable_name

TEXT_FILES = (
    "manifest", "package-list", "computed-files", "computed-files.json", "computed-files.add",
    "computed-files.add.json", "filter", "filter.add", "triggers", "triggers.add", "owners.json", "tags.json",
)  # fmt: skip
"""The files of a manifest that are read as text; the rest are directories of what goes into the image."""

RUN_DIRECTORIES = ("pre-install-scripts", "scripts", "post-cleanup-scripts", "tests")
"""The directories of a manifest whose files are run."""

NO_MANIFEST = "no file called manifest: expected one with SourceImage"

T = TypeVar("T")


class ManifestFile(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """The file called ``manifest``. Absent filter lines differ from an empty list.

    ``without_network`` names those of `RUN_DIRECTORIES` whose files are run without network.
    """

    source_image: str
    filter_lines: tuple[str, ...] | None = None
    mtimes_copy_filter_lines: tuple[str, ...] | None = None
    mtimes_copy_add_filter_lines: tuple[str, ...] = ()
    source_image_build_variables: dict[str, str] = {}
    source_image_git_commit_id: str = ""
    source_image_tags_to_match: dict[str, tuple[str, ...]] = {}
    without_network: tuple[str, ...] = ()


class _SourceImage(msgspec.Struct, frozen=True, rename="pascal"):
    """What the file called ``manifest`` cannot go without."""

    source_image: str


_source_decoder = msgspec.json.Decoder(_SourceImage)


class ComputedFile(msgspec.Struct, frozen=True, rename="pascal"):
    """A file whose content a machine fetches from ``source`` (host and port of a file generator)."""

    filename: str
    source: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """All texts of a manifest; ``packages`` are the lines of the package list that count."""

    file: ManifestFile
    packages: tuple[str, ...] = ()
    filter: tuple[str, ...] | None = None
    filter_add: tuple[str, ...] | None = None
    triggers: tuple[Trigger, ...] | None = None
    triggers_add: tuple[Trigger, ...] | None = None
    computed_files: tuple[ComputedFile, ...] | None = None
    computed_files_add: tuple[ComputedFile, ...] | None = None
    owners: Owners = Owners()
    tags: dict[str, str] = {}


def decode_manifest(texts: Mapping[str, bytes], where: str, warn: Warn = untold) -> Manifest:
    """The manifest of the files ``texts`` (of `TEXT_FILES`) in a directory called ``where``.

    Raises `ConfigurationError` with everything that is wrong: the file, the line or field, and what was expected.
    Unknown fields of the file ``manifest`` are nobody's business; ``warn`` is told of what else is doubtful.
    """
    reader = _Reader(texts, where, warn)
    reader.only_one(["filter"], ["filter.add"])
    reader.only_one(["triggers"], ["triggers.add"])
    reader.only_one(_forms("computed-files"), _forms("computed-files.add"))
    file = reader.required("manifest", _decode_file)
    manifest = Manifest(
        file=file or ManifestFile(source_image=""),
        packages=reader.read("package-list", _packages) or (),
        filter=reader.read("filter", decode_filter),
        filter_add=reader.read("filter.add", decode_filter),
        triggers=reader.read("triggers", decode_triggers),
        triggers_add=reader.read("triggers.add", decode_triggers),
        computed_files=reader.computed("computed-files"),
        computed_files_add=reader.computed("computed-files.add"),
        owners=reader.read("owners.json", _decoder_of(Owners)) or Owners(),
        tags=reader.read("tags.json", _decoder_of(dict[str, str])) or {},
    )
    reader.finish()
    return manifest


def decode_source_image(data: bytes, where: str) -> str:
    """The ``SourceImage`` of a file ``manifest`` called ``where``, not expanded; what else it says is not looked at.

    Raises `ConfigurationError` where it says none.
    """
    try:
        # Plain JSON, as almost all are, at a tenth of the cost.
        return _source_decoder.decode(data.decode()).source_image
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        json = JsonFile(data, where)
        file = json.decode(_SourceImage, among_others=True)
        json.finish()
        assert file is not None
        return file.source_image


def _decode_file(data: bytes, where: str, warn: Warn) -> ManifestFile:
    """The file called ``manifest``, in which people keep what is theirs, too."""
    json = JsonFile(data, where, warn)
    file = json.decode(ManifestFile, among_others=True)
    if file is not None:
        _check_file(json, file)
    json.finish()
    assert file is not None
    return file


def _check_file(json: JsonFile, file: ManifestFile) -> None:
    if "$" not in file.source_image:
        json.check(("SourceImage",), check_stream_name, file.source_image)
    check_lines(json, ("FilterLines",), file.filter_lines or ())
    check_lines(json, ("MtimesCopyFilterLines",), file.mtimes_copy_filter_lines or ())
    check_lines(json, ("MtimesCopyAddFilterLines",), file.mtimes_copy_add_filter_lines)
    for variable in file.source_image_build_variables:
        json.check(("SourceImageBuildVariables", variable), check_variable_name, variable, of_key=True)
    for at, name in enumerate(file.without_network):
        if name not in RUN_DIRECTORIES:
            words = f"{name!r} is not run: expected some of {', '.join(RUN_DIRECTORIES)}"
            json.wrong(("WithoutNetwork", at), words)


Decode = Callable[[bytes, str, Warn], T]
"""Makes a value of a file's content, given its name for errors; raises `ConfigurationError`."""


class _Reader:
    """Decodes files by name, and gathers what is wrong with them."""

    def __init__(self, texts: Mapping[str, bytes], where: str, warn: Warn) -> None:
        self._texts = texts
        self._where = where
        self._warn = warn
        self._problems: list[Problem] = []

    def required(self, name: str, decode: Decode[T]) -> T | None:
        if name not in self._texts:
            self._problems.append(Problem(self._where, NO_MANIFEST))
        return self.read(name, decode)

    def only_one(self, names: Sequence[str], others: Sequence[str]) -> None:
        """Of files that are merged with the source image's and files that are not, there may be one kind only."""
        first, second = (next((name for name in kind if name in self._texts), None) for kind in (names, others))
        if first and second:
            self._problems.append(Problem(self._where, f"both {first} and {second}: expected one of them"))

    def read(self, name: str, decode: Decode[T]) -> T | None:
        data = self._texts.get(name)
        if data is None:
            return None
        try:
            return decode(data, f"{self._where}/{name}", self._warn)
        except ConfigurationError as error:
            self._problems += error.problems
            return None

    def computed(self, name: str) -> tuple[ComputedFile, ...] | None:
        json, lines = _forms(name)
        from_json = self.read(json, _computed_from_json)
        from_lines = self.read(lines, _computed)
        return from_lines if from_json is None else from_json

    def finish(self) -> None:
        if self._problems:
            raise ConfigurationError.of([problem.readable() for problem in bounded(self._problems)])


def _forms(name: str) -> tuple[str, str]:
    """The names of computed files: the JSON form wins."""
    return f"{name}.json", name


def _decoder_of(kind: type[T]) -> Decode[T]:
    return lambda data, where, warn: decode_json(data, kind, where, warn)


def _numbered(data: bytes, where: str) -> Iterator[tuple[int, str]]:
    """The lines that are neither blank nor comments, with their numbers."""
    for number, line in enumerate(decode_text(data, where).split("\n"), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            yield number, line.strip()


def _packages(data: bytes, where: str, warn: Warn) -> tuple[str, ...]:
    """The lines of a package list; each is one argument of the packager, whatever it holds."""
    lines = list(_numbered(data, where))
    problems = [Problem(where, "holds a NUL character", number) for number, line in lines if "\0" in line]
    _raise(problems)
    for number, line in lines:
        for words in _doubts_of_package(line):
            warn(Problem(where, f"{line!r} {words}", number).readable())
    return tuple(line for _, line in lines)


def _doubts_of_package(line: str) -> Iterator[str]:
    if line.startswith("-"):
        yield "is taken for an option by most packagers: expected the name of a package"
    if len(line.split()) > 1:
        yield "is one argument: expected one package a line"


def decode_filter(data: bytes, where: str, _warn: Warn = untold) -> tuple[str, ...]:
    """The lines of a filter's file; raises `ConfigurationError` with every line that is no regular expression."""
    lines = list(_numbered(data, where))
    check_count([line for _, line in lines], where)
    problems: list[Problem] = []
    for number, line in lines:
        try:
            compile_line(line, where)
        except ConfigurationError as error:
            problems.append(Problem(where, error.problem, number))
    _raise(problems)
    return tuple(line for _, line in lines)


def _computed(data: bytes, where: str, _warn: Warn) -> tuple[ComputedFile, ...]:
    files, problems = [], []
    for number, line in _numbered(data, where):
        words = line.split()
        problem = "expected an absolute path and a source address" if len(words) != 2 else _fault_of_path(words[0])
        if problem:
            problems.append(Problem(where, problem, number))
        else:
            files.append(ComputedFile(*words))
    _raise(problems)
    return tuple(files)


def _computed_from_json(data: bytes, where: str, warn: Warn) -> tuple[ComputedFile, ...]:
    json = JsonFile(data, where, warn)
    files = json.decode(tuple[ComputedFile, ...])
    for at, file in enumerate(files or ()):
        if problem := _fault_of_path(file.filename):
            json.wrong((at, "Filename"), problem)
    json.finish()
    assert files is not None
    return files


def _fault_of_path(path: str) -> str:
    """What is wrong with a path within an image; nothing if it is absolute and as short as can be."""
    if path.startswith("/tmp/"):
        return f"{path!r}: nothing below /tmp is ever part of an image"
    if path.startswith("/") and all(part not in ("", ".", "..") for part in path[1:].split("/")) and "\0" not in path:
        return ""
    return f"{path!r}: expected an absolute path below /, without . and .. in it"


def _raise(problems: Sequence[Problem]) -> None:
    if problems:
        raise ConfigurationError.of([problem.readable() for problem in bounded(problems)])
