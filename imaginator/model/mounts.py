"""What of the host the builds of manifest streams see: directories that are bind-mounted, and caches of streams."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence

import msgspec

from imaginator.model.codec import JsonFile
from imaginator.model.durations import parse_size
from imaginator.model.places import Path

TAKEN = ("/proc", "/sys", "/dev")
"""What every command sees anyway; nothing else is to be seen there."""


class StreamCache(msgspec.Struct, frozen=True, rename="pascal"):
    """A writable directory below ``base_directory`` for each image stream, which its builds see at ``mount_point``.

    After a good build the files that were changed longest ago go, until the rest is within ``size_limit``: ``5G``.
    """

    base_directory: str
    mount_point: str
    size_limit: str

    @property
    def bytes(self) -> int:
        """The limit in bytes."""
        return parse_size(self.size_limit)


def check_mounts(file: JsonFile, read_only: Sequence[str], writable: Sequence[str], cache: StreamCache | None) -> None:
    """Tell a file of everything that is wrong with its bind mounts and its cache."""
    for field, paths in (("BindMounts", read_only), ("BindMountsWritable", writable)):
        for at, path in enumerate(paths):
            file.check((field, at), _check_mount_point, path)
            file.check((field, at), _check_apart, path, cache)
    for at, path in enumerate(writable):
        if path in read_only:
            file.wrong(("BindMountsWritable", at), f"{path!r} is among BindMounts too: expected in one of them")
    if cache is not None:
        _check_cache(file, cache, ("Cache",))


def _check_cache(file: JsonFile, cache: StreamCache, place: Path) -> None:
    file.check((*place, "BaseDirectory"), _check_path, cache.base_directory)
    file.check((*place, "MountPoint"), _check_mount_point, cache.mount_point)
    file.check((*place, "SizeLimit"), parse_size, cache.size_limit)


def _check_path(path: str) -> None:
    """Raise ValueError where ``path`` is no directory of the host that builds could see."""
    if not path.startswith("/") or path.startswith("//") or path == "/" or posixpath.normpath(path) != path:
        raise ValueError(f"{path!r}, expected an absolute path below / without . and .. and a / at its end")
    if "\0" in path:
        raise ValueError("holds a NUL character")


def _check_mount_point(path: str) -> None:
    """Raise ValueError where nothing can be mounted at ``path`` of an image."""
    _check_path(path)
    for place in TAKEN:
        if lies_within(path, place):
            raise ValueError(f"{path!r} lies in {place}, which every build has of its own")


def _check_apart(path: str, cache: StreamCache | None) -> None:
    """Raise ValueError where a bind mount is in the way of the cache, or shows those of all streams."""
    if cache is None:
        return
    if lies_within(cache.mount_point, path):
        raise ValueError(f"{path!r} holds the MountPoint of Cache: it can only be made outside")
    if lies_within(cache.base_directory, path) or lies_within(path, cache.base_directory):
        raise ValueError(f"{path!r} and the BaseDirectory of Cache share files: builds would see other streams' caches")


def lies_within(path: str, directory: str) -> bool:
    """Whether a normalised path is ``directory`` or lies below it."""
    return path == directory or path.startswith(f"{directory}/")
