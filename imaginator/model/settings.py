"""The main configuration: bootstrap streams, packager types, and what is rebuilt by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from imaginator.model.codec import JsonFile
from imaginator.model.filters import check_lines
from imaginator.model.image import Owners
from imaginator.model.limits import StreamLimits
from imaginator.model.names import check_stream_name
from imaginator.model.places import Path
from imaginator.model.problems import Warn, untold
from imaginator.model.variables import expand


class ListCommand(msgspec.Struct, frozen=True, rename="pascal"):
    """How installed packages are listed; sizes times ``size_multiplier`` are bytes."""

    arg_list: tuple[str, ...] = ()
    size_multiplier: int = 1


class PackageCache(msgspec.Struct, frozen=True, rename="pascal"):
    """Where a packager keeps what it downloads: those files of an image's ``directory`` that end in ``suffix``.

    They are kept for later builds, which find them in ``offer_in``, a directory within it (empty: in it itself). That
    must be where the packager checks what it finds, since any build may have put it there.
    """

    directory: str
    offer_in: str = ""
    suffix: str = ""


class PackagerType(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """How one family of packages is handled; an absent command does nothing and succeeds."""

    clean_command: tuple[str, ...] = ()
    clean_patterns: tuple[str, ...] = ()
    install_command: tuple[str, ...] = ()
    list_command: ListCommand = ListCommand()
    package_cache: PackageCache | None = None
    remove_command: tuple[str, ...] = ()
    update_command: tuple[str, ...] = ()
    upgrade_command: tuple[str, ...] = ()
    verbatim: tuple[str, ...] = ()


class BootstrapStream(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """A stream whose image comes from a command run on an empty directory, its ``$dir``."""

    bootstrap_command: tuple[str, ...]
    packager_type: str
    filter_lines: tuple[str, ...] = ()
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
        check_lines(file, ("PackagerTypes", name, "CleanPatterns"), packager.clean_patterns)
        _check_package_cache(file, packager.package_cache, ("PackagerTypes", name, "PackageCache"))
    check_lines(file, ("MtimesCopyFilterLines",), settings.mtimes_copy_filter_lines)


def _check_bootstrap(file: JsonFile, stream: BootstrapStream, place: Path, known: Sequence[str]) -> None:
    if not stream.bootstrap_command:
        file.wrong((*place, "BootstrapCommand"), "empty, expected a command and its arguments")
    if stream.packager_type not in known:
        defined = ", ".join(sorted(known)) or "none"
        words = f"unknown packager type {stream.packager_type!r}, defined: {defined}"
        file.wrong((*place, "PackagerType"), words)
    check_lines(file, (*place, "FilterLines"), stream.filter_lines)


def _check_package_cache(file: JsonFile, cache: PackageCache | None, place: Path) -> None:
    if cache is None:
        return
    if not cache.directory.startswith("/") or not all(map(_is_name, cache.directory[1:].split("/"))):
        file.wrong((*place, "Directory"), f"{cache.directory!r}, expected an absolute path below /")
    if cache.offer_in and ("/" in cache.offer_in or not _is_name(cache.offer_in)):
        file.wrong((*place, "OfferIn"), f"{cache.offer_in!r}, expected the name of one directory")


def _is_name(name: str) -> bool:
    return name not in ("", ".", "..")
