"""The main configuration: bootstrap streams, packager types, and what is rebuilt by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from imaginator.model.codec import JsonFile
from imaginator.model.filters import check_lines
from imaginator.model.image import Owners
from imaginator.model.limits import StreamLimits
from imaginator.model.mounts import StreamCache, check_mounts
from imaginator.model.names import check_stream_name
from imaginator.model.packagers import PackagerType, check_packager
from imaginator.model.places import Path
from imaginator.model.problems import Warn, untold
from imaginator.model.renewal import Renewal
from imaginator.model.variables import expand
from imaginator.model.words import check_word


class BootstrapStream(Renewal, frozen=True, kw_only=True, rename="pascal"):
    """A stream whose image comes from a command run on an empty directory, its ``$dir``.

    The URLs are of files that say what manifests say in ``filter``, ``tags.json`` and ``triggers``.
    """

    bootstrap_command: tuple[str, ...]
    packager_type: str
    filter_lines: tuple[str, ...] = ()
    image_filter_url: str = ""
    image_tags_url: str = ""
    image_triggers_url: str = ""
    owners: Owners = Owners()
    limits: StreamLimits = StreamLimits()


class QuickLink(msgspec.Struct, frozen=True, rename="pascal"):
    """A link that the dependency graph's page offers."""

    name: str
    url: str = msgspec.field(name="URL")


class Settings(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """The file. ``image_streams_check_interval`` is in seconds; bind mounts are directories of the host."""

    bootstrap_streams: dict[str, BootstrapStream] = {}
    image_streams_to_auto_rebuild: tuple[str, ...] = ()
    image_streams_url: str = ""
    image_streams_check_interval: float = 60
    packager_types: dict[str, PackagerType] = {}
    bind_mounts: tuple[str, ...] = ()
    bind_mounts_writable: tuple[str, ...] = ()
    cache: StreamCache | None = None
    mtimes_copy_filter_lines: tuple[str, ...] = ()
    relationships_quick_links: tuple[QuickLink, ...] = ()


def decode_settings(data: bytes, where: str, arch: str, warn: Warn = untold) -> Settings:
    """The main configuration of a file called ``where``, ``$ARCH`` expanded in names.

    Raises `ConfigurationError` with everything that is wrong.
    """
    file = JsonFile(data, where, warn)
    settings = file.decode(Settings)
    if settings is not None:
        _check(file, settings, {"ARCH": arch})
    file.finish()
    assert settings is not None
    return _expanded(settings, {"ARCH": arch})


def _expanded(settings: Settings, variables: Mapping[str, str]) -> Settings:
    return msgspec.structs.replace(
        settings,
        bootstrap_streams={expand(name, variables): stream for name, stream in settings.bootstrap_streams.items()},
        image_streams_to_auto_rebuild=tuple(expand(name, variables) for name in settings.image_streams_to_auto_rebuild),
    )


def _check(file: JsonFile, settings: Settings, variables: Mapping[str, str]) -> None:
    known = file.keys("PackagerTypes")
    for name, stream in settings.bootstrap_streams.items():
        place = ("BootstrapStreams", name)
        file.check(place, check_stream_name, expand(name, variables), of_key=True)
        _check_bootstrap(file, stream, place, known)
    for at, name in enumerate(settings.image_streams_to_auto_rebuild):
        file.check(("ImageStreamsToAutoRebuild", at), check_stream_name, expand(name, variables))
    for name, packager in settings.packager_types.items():
        check_packager(file, packager, ("PackagerTypes", name))
    check_lines(file, ("MtimesCopyFilterLines",), settings.mtimes_copy_filter_lines)
    check_mounts(file, settings.bind_mounts, settings.bind_mounts_writable, settings.cache)


def _check_bootstrap(file: JsonFile, stream: BootstrapStream, place: Path, known: Sequence[str]) -> None:
    if not stream.bootstrap_command:
        file.wrong((*place, "BootstrapCommand"), "empty, expected a command and its arguments")
    if stream.packager_type not in known:
        defined = ", ".join(sorted(known)) or "none"
        words = f"unknown packager type {stream.packager_type!r}, defined: {defined}"
        file.wrong((*place, "PackagerType"), words)
    for at, word in enumerate(stream.bootstrap_command):
        file.check((*place, "BootstrapCommand", at), check_word, word)
    check_lines(file, (*place, "FilterLines"), stream.filter_lines)
