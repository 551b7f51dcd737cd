"""The main configuration: bootstrap streams, packager types, and what is rebuilt by itself."""

from __future__ import annotations

import msgspec

from imaginator.model.codec import Warn, decode_json
from imaginator.model.errors import ConfigurationError, InvalidRequest
from imaginator.model.filters import Filter
from imaginator.model.image import Owners
from imaginator.model.limits import StreamLimits
from imaginator.model.names import check_stream_name
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


def decode_settings(data: bytes, where: str, arch: str, warn: Warn | None = None) -> Settings:
    """The main configuration of a file called ``where``, ``$ARCH`` expanded in names; raises `ConfigurationError`."""
    settings = decode_json(data, Settings, where, warn)
    variables = {"ARCH": arch}
    settings = msgspec.structs.replace(
        settings,
        bootstrap_streams={expand(name, variables): stream for name, stream in settings.bootstrap_streams.items()},
        image_streams_to_auto_rebuild=tuple(expand(name, variables) for name in settings.image_streams_to_auto_rebuild),
    )
    _check(settings, where)
    return settings


def _check(settings: Settings, where: str) -> None:
    for name, stream in settings.bootstrap_streams.items():
        place = f"$.BootstrapStreams[{name!r}]"
        try:
            check_stream_name(name)
        except InvalidRequest as error:
            raise ConfigurationError(where, f"{place}: {error}") from None
        if not stream.bootstrap_command:
            raise ConfigurationError(where, f"{place}.BootstrapCommand: empty, expected a command and its arguments")
        if stream.packager_type not in settings.packager_types:
            known = ", ".join(sorted(settings.packager_types)) or "none"
            problem = f"{place}.PackagerType: unknown packager type {stream.packager_type!r}, defined: {known}"
            raise ConfigurationError(where, problem)
        Filter(stream.filter_lines, f"{where}: {place}.FilterLines")
    for name, packager in settings.packager_types.items():
        Filter(packager.clean_patterns, f"{where}: $.PackagerTypes[{name!r}].CleanPatterns")
        _check_package_cache(packager.package_cache, where, f"$.PackagerTypes[{name!r}].PackageCache")
    Filter(settings.mtimes_copy_filter_lines, f"{where}: $.MtimesCopyFilterLines")


def _check_package_cache(cache: PackageCache | None, where: str, place: str) -> None:
    if cache is None:
        return
    if not cache.directory.startswith("/") or not all(map(_is_name, cache.directory[1:].split("/"))):
        raise ConfigurationError(where, f"{place}.Directory: {cache.directory!r}, expected an absolute path below /")
    if cache.offer_in and ("/" in cache.offer_in or not _is_name(cache.offer_in)):
        raise ConfigurationError(where, f"{place}.OfferIn: {cache.offer_in!r}, expected the name of one directory")


def _is_name(name: str) -> bool:
    return name not in ("", ".", "..") and "\0" not in name
