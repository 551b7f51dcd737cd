"""Makes an upper equal to its image, so that it can serve as the image's layer. Standard library only (see `holder`).

The overlay is unmounted by now: the upper is a plain directory, and so are the lowers beneath it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence

from imaginator.sandbox.beneath import Root, remove_at
from imaginator.sandbox.contents import copy_content
from imaginator.sandbox.kernel.files import open_beneath
from imaginator.sandbox.scanning import OPAQUE, OVERLAY_ATTRIBUTES, is_whiteout


class Upper:
    """An upper over its lowers, topmost first; directories keep their times whatever is done in them."""

    def __init__(self, upper: bytes, lowers: Sequence[bytes]) -> None:
        self._upper = upper
        self._root = Root(upper)
        self._lowers = lowers
        self._times: dict[bytes, tuple[int, int]] = {}

    def make_absent(self, path: bytes) -> None:
        """Remove a path, and white it out where a lower has it."""
        status = self._status(path)
        covered = self._lower(path) is not None and not _hidden_by(self._upper, path)
        if status and is_whiteout(status) and covered:
            return
        if status:
            with self._changing(path) as directory:
                remove_at(directory, os.path.basename(path))
        if covered:
            with self._changing(path) as directory:
                os.mknod(os.path.basename(path), stat.S_IFCHR, 0, dir_fd=directory)

    def make_empty(self, path: bytes) -> None:
        """Keep a file's metadata and drop its content."""
        if not self._is_file(path):
            self._copy_up(path)
        status = os.lstat(self._upper + path)
        os.truncate(self._upper + path, 0)
        os.utime(self._upper + path, ns=(status.st_atime_ns, status.st_mtime_ns))

    def set_time(self, path: bytes, mtime: int) -> None:
        """Set a file's time of modification, in nanoseconds."""
        if not self._is_file(path):
            self._copy_up(path)
        status = os.lstat(self._upper + path)
        os.utime(self._upper + path, ns=(status.st_atime_ns, mtime), follow_symlinks=False)

    def settle(self) -> int:
        """Drop overlayfs' own attributes but for opaque directories, and give directories their times back.

        Returns the bytes that the upper takes on the disk.
        """
        blocks = 0
        for path, status in _walk(self._upper):
            blocks += status.st_blocks
            if self._lowers:
                _drop_attributes(path)
        for path in sorted(self._times, reverse=True):
            os.utime(self._upper + path, ns=self._times[path])
        self._root.close()
        return blocks * 512

    def _status(self, path: bytes) -> os.stat_result | None:
        with self._root.place(path) as place:
            return os.lstat(place) if place is not None and os.path.lexists(place) else None

    def _is_file(self, path: bytes) -> bool:
        status = self._status(path)
        return status is not None and not stat.S_ISDIR(status.st_mode) and not is_whiteout(status)

    def _lower(self, path: bytes) -> bytes | None:
        """The topmost lower's path of what the upper covers, if a lower has it."""
        for lower in self._lowers:
            try:
                status = os.lstat(lower + path)
            except (FileNotFoundError, NotADirectoryError):
                if _hidden_by(lower, path):
                    return None
                continue
            return None if is_whiteout(status) else lower + path
        return None

    def _changing(self, path: bytes) -> _Directory:
        """The upper's directory that holds ``path``, copied up where it is missing, its times kept for the end."""
        directory = os.path.dirname(path)
        self._need_directory(directory)
        if directory not in self._times:
            status = os.lstat(self._upper + directory)
            self._times[directory] = (status.st_atime_ns, status.st_mtime_ns)
        return _Directory(self._root, directory)

    def _need_directory(self, path: bytes) -> None:
        if self._status(path) is not None:
            return
        source = self._lower(path)
        if source is None:
            raise FileNotFoundError(2, "no layer has this directory", os.fsdecode(path))
        with self._changing(path) as parent:
            os.mkdir(os.path.basename(path), 0o700, dir_fd=parent)
        copy_metadata(source, self._upper + path)
        status = os.lstat(source)
        self._times[path] = (status.st_atime_ns, status.st_mtime_ns)

    def _copy_up(self, path: bytes) -> None:
        source = self._lower(path)
        if source is None:
            raise FileNotFoundError(2, "no layer has this file", os.fsdecode(path))
        with self._changing(path):
            copy_inode(source, self._upper + path)
            copy_metadata(source, self._upper + path)


class _Directory:
    """An open directory of a tree, as a context; no link leads to it."""

    def __init__(self, root: Root, path: bytes) -> None:
        self._descriptor = open_beneath(root.descriptor, path, os.O_RDONLY | os.O_DIRECTORY, links=False)

    def __enter__(self) -> int:
        return self._descriptor

    def __exit__(self, *error: object) -> None:
        os.close(self._descriptor)


def _walk(path: bytes) -> Iterator[tuple[bytes, os.stat_result]]:
    """A directory and all that is below it."""
    yield path, os.lstat(path)
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(entry.path)
            else:
                yield entry.path, entry.stat(follow_symlinks=False)


def _hidden_by(lower: bytes, path: bytes) -> bool:
    """Whether a lower hides a path that it does not have: by a whiteout, an opaque directory or another file above."""
    while (path := os.path.dirname(path)) != b"/":
        try:
            status = os.lstat(lower + path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        if not stat.S_ISDIR(status.st_mode):
            return True
        try:
            return os.getxattr(lower + path, OPAQUE, follow_symlinks=False) == b"y"
        except OSError:
            continue
    return False


def copy_inode(source: bytes, target: bytes) -> None:
    """Make what lies at ``source`` again at ``target``: content, link target or device number."""
    status = os.lstat(source)
    if stat.S_ISREG(status.st_mode):
        copy_content(source, target)
    elif stat.S_ISLNK(status.st_mode):
        os.symlink(os.readlink(source), target)
    else:
        os.mknod(target, status.st_mode, status.st_rdev)


def copy_metadata(source: bytes, target: bytes, overlay: bool = False) -> None:
    """Owner, attributes, mode and times, in the order in which none undoes another.

    Overlayfs' own attributes come along only where ``overlay`` says so.
    """
    status = os.lstat(source)
    os.chown(target, status.st_uid, status.st_gid, follow_symlinks=False)
    names = os.listxattr(source, follow_symlinks=False)
    if not overlay:
        names = [name for name in names if not name.startswith(OVERLAY_ATTRIBUTES)]
    set_attributes(target, [(name, os.getxattr(source, name, follow_symlinks=False)) for name in names])
    if not stat.S_ISLNK(status.st_mode):
        os.chmod(target, stat.S_IMODE(status.st_mode))
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=False)


def set_attributes(target: bytes, attributes: Sequence[tuple[str | bytes, bytes]]) -> None:
    """Let a new inode have these extended attributes and no other: a directory's default ACL is inherited (acl(5))."""
    wanted = {os.fsencode(name) for name, _ in attributes}
    for inherited in os.listxattr(target, follow_symlinks=False):
        if os.fsencode(inherited) not in wanted and not inherited.startswith(OVERLAY_ATTRIBUTES):
            os.removexattr(target, inherited, follow_symlinks=False)
    for name, value in attributes:
        os.setxattr(target, name, value, follow_symlinks=False)


def _drop_attributes(path: bytes) -> None:
    for name in os.listxattr(path, follow_symlinks=False):
        if name.startswith(OVERLAY_ATTRIBUTES) and name != OPAQUE:
            os.removexattr(path, name, follow_symlinks=False)
