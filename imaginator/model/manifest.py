"""An image manifest's texts as one value, checked before anything is unpacked or run.

Which files there are, and in which order they count, is section 6 of the specification; reading them from a directory
is `imaginator.build.sources`' work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

import msgspec

from imaginator.model.codec import decode_json, decode_text
from imaginator.model.errors import ConfigurationError
from imaginator.model.filters import Filter, compile_line
from imaginator.model.image import Owners, Trigger
from imaginator.model.triggers import decode_triggers

TEXT_FILES = (
    "manifest", "package-list", "computed-files", "computed-files.json", "computed-files.add",
    "computed-files.add.json", "filter", "filter.add", "triggers", "triggers.add", "owners.json", "tags.json",
)  # fmt: skip
"""The files of a manifest that are read as text; the rest are directories of what goes into the image."""

RUN_DIRECTORIES = ("pre-install-scripts", "scripts", "post-cleanup-scripts", "tests")
"""The directories of a manifest whose files are run."""

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


def decode_manifest(texts: Mapping[str, bytes], where: str) -> Manifest:
    """The manifest of the files ``texts`` (of `TEXT_FILES`) in a directory called ``where``.

    Raises `ConfigurationError` naming the file, the line or field, and what was expected.
    """
    reader = _Reader(texts, where)
    file = reader.required()
    Filter(file.filter_lines or (), f"{where}/manifest: FilterLines")
    Filter(file.mtimes_copy_filter_lines or (), f"{where}/manifest: MtimesCopyFilterLines")
    Filter(file.mtimes_copy_add_filter_lines, f"{where}/manifest: MtimesCopyAddFilterLines")
    _check_directories(file.without_network, f"{where}/manifest: WithoutNetwork")
    reader.only_one("filter", "filter.add")
    reader.only_one("triggers", "triggers.add")
    for name in ("computed-files", "computed-files.json"):
        for added in ("computed-files.add", "computed-files.add.json"):
            reader.only_one(name, added)
    return Manifest(
        file=file,
        packages=reader.read("package-list", _lines) or (),
        filter=reader.read("filter", _filter),
        filter_add=reader.read("filter.add", _filter),
        triggers=reader.read("triggers", decode_triggers),
        triggers_add=reader.read("triggers.add", decode_triggers),
        computed_files=reader.computed("computed-files"),
        computed_files_add=reader.computed("computed-files.add"),
        owners=reader.read("owners.json", lambda data, name: decode_json(data, Owners, name)) or Owners(),
        tags=reader.read("tags.json", lambda data, name: decode_json(data, dict[str, str], name)) or {},
    )


def _check_directories(names: tuple[str, ...], where: str) -> None:
    for name in names:
        if name not in RUN_DIRECTORIES:
            raise ConfigurationError(where, f"{name!r} is not run: expected some of {', '.join(RUN_DIRECTORIES)}")


class _Reader:
    """Decodes files by name, each with the place that its errors name."""

    def __init__(self, texts: Mapping[str, bytes], where: str) -> None:
        self._texts = texts
        self._where = where

    def required(self) -> ManifestFile:
        if "manifest" not in self._texts:
            raise ConfigurationError(self._where, "no file called manifest: expected one with SourceImage")
        return decode_json(self._texts["manifest"], ManifestFile, f"{self._where}/manifest")

    def only_one(self, name: str, other: str) -> None:
        if name in self._texts and other in self._texts:
            raise ConfigurationError(self._where, f"both {name} and {other}: expected one of them")

    def read(self, name: str, decode: Callable[[bytes, str], T]) -> T | None:
        data = self._texts.get(name)
        return None if data is None else decode(data, f"{self._where}/{name}")

    def computed(self, name: str) -> tuple[ComputedFile, ...] | None:
        from_json = self.read(f"{name}.json", lambda data, where: decode_json(data, tuple[ComputedFile, ...], where))
        return self.read(name, _computed) if from_json is None else from_json


def _numbered(data: bytes, where: str) -> Iterator[tuple[int, str]]:
    """The lines that are neither blank nor comments, with their numbers."""
    for number, line in enumerate(decode_text(data, where).split("\n"), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            yield number, line.strip()


def _lines(data: bytes, where: str) -> tuple[str, ...]:
    return tuple(line for _, line in _numbered(data, where))


def _filter(data: bytes, where: str) -> tuple[str, ...]:
    for number, line in _numbered(data, where):
        compile_line(line, f"{where}: line {number}")
    return _lines(data, where)


def _computed(data: bytes, where: str) -> tuple[ComputedFile, ...]:
    files = []
    for number, line in _numbered(data, where):
        words = line.split()
        if len(words) != 2 or not words[0].startswith("/"):
            raise ConfigurationError(where, f"line {number}: expected an absolute path and a source address")
        files.append(ComputedFile(*words))
    return tuple(files)
