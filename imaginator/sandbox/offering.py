"""Packages that were downloaded before, offered to a build; and what it downloads, kept for later ones.

::

    WORKSPACE/packages/         links, on the file system of the cache
      offered/[OFFER_IN/]NAME   hard links of what the cache held when the build began: a view that stays as it is
      fresh                     a file on its way into the cache
    .../packages/               changes, where the build's tree is written too
      upper/                    what the build's packager writes
      work/                     overlayfs' own
      below                     a link to ``offered``
      merged/                   both, as commands see it; mounted in the holder's namespace

The build is root in there, yet no file of the cache is ever written through it: overlayfs copies up first. What it
leaves is copied, never moved: a new file has no owner, mode or attribute that the build chose (librepo would believe
an attribute that names a checksum) and nobody holds it open. Used by the holder process: standard library only.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from imaginator.sandbox.beneath import remove_path
from imaginator.sandbox.contents import copy_content
from imaginator.sandbox.kernel.mounts import MNT_DETACH, MS_NODEV, MS_NOSUID, mount, unmount
from imaginator.sandbox.kernel.privileges import files_as

SMALLEST = 1 << 16
"""Bytes that a file counts as at least: a cache of many tiny files would take builds long to look at."""

OPTIONS = b"lowerdir=below,upperdir=upper,workdir=work,index=off,metacopy=off,redirect_dir=off,volatile"
"""Relative names need no escapes. Files of the cache have several links, which ``index=on`` would keep together."""

_PUNCTUATION = b"._+~%:@=^,-"
_BLOCK = 1 << 20


class Places:
    """Where an offer lies: the links of the cache, the build's changes, and each as mounted with the build's ids."""

    def __init__(self, links: bytes, links_shown: bytes, changes: bytes, changes_shown: bytes) -> None:
        self.links = links
        self.links_shown = links_shown
        self.changes = changes
        self.changes_shown = changes_shown


class Offer:
    """What ``cache``, a directory, offers to the build; ``directory`` is what commands are to see.

    ``root`` is what the build's root is on the host.
    """

    def __init__(self, places: Places, root: int, cache: bytes) -> None:
        self._places = places
        self._root = root
        self._cache = cache
        self.directory = os.path.join(places.changes_shown, b"merged")

    def open(self, offer_in: bytes) -> int:
        """Mount the view; how many files it offers, in ``offer_in`` within it."""
        for name in (b"upper", b"work", b"merged"):
            os.makedirs(os.path.join(self._places.changes, name), 0o755, exist_ok=True)
        offered = os.path.join(self._places.links, b"offered", offer_in)
        os.makedirs(offered, 0o755, exist_ok=True)
        os.symlink(os.path.join(self._places.links_shown, b"offered"), os.path.join(self._places.changes, b"below"))
        count = self._link(offered)
        os.chdir(self._places.changes_shown)
        with files_as(self._root):
            mount(b"overlay", b"merged", b"overlay", MS_NODEV | MS_NOSUID, OPTIONS)
        os.chdir("/")
        return count

    def _link(self, target: bytes) -> int:
        count = 0
        for name in os.listdir(self._cache):
            try:
                os.link(os.path.join(self._cache, name), os.path.join(target, name))
                count += 1
            except FileNotFoundError:
                continue  # trimmed by another build
        return count

    def keep(self, suffix: bytes, room: int) -> tuple[int, int]:
        """Unmount, and copy what is new into the cache: how many files, and how many of the cache were used.

        At most ``room`` bytes are copied. A file whose name the cache has with other content takes its place: the
        packager had been offered that and found it wanting. All of the offer is removed here, since the daemon would
        have to remove as many links as the cache has files.
        """
        unmount(self.directory, MNT_DETACH)
        kept = used = 0
        for name, size in self._downloads(suffix):
            cached = os.path.join(self._cache, name)
            if _same(os.path.join(self._places.changes, b"upper", name), cached):
                used += _touch(cached)
            elif size <= room:
                room -= size
                kept += 1
                self._take(name, cached)
        remove_path(os.path.join(self._places.links, b"offered"))
        for name in (b"upper", b"work", b"below", b"merged"):
            remove_path(os.path.join(self._places.changes, name))
        return kept, used

    def _downloads(self, suffix: bytes) -> Iterator[tuple[bytes, int]]:
        """The names of regular files that may be kept, and what each counts. Nothing of the build runs any more."""
        with os.scandir(os.path.join(self._places.changes, b"upper")) as entries:
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(status.st_mode) and status.st_size and _is_sane(entry.name, suffix):
                    yield entry.name, max(status.st_size, SMALLEST)

    def _take(self, name: bytes, cached: bytes) -> None:
        fresh = os.path.join(self._places.links, b"fresh")
        copy_content(os.path.join(self._places.changes, b"upper", name), fresh)
        os.chmod(fresh, 0o644)
        os.rename(fresh, cached)


def _is_sane(name: bytes, suffix: bytes) -> bool:
    return name.endswith(suffix) and name[:1].isalnum() and name.translate(None, _PUNCTUATION).isalnum()


def _same(one: bytes, other: bytes) -> bool:
    """Whether two files have the same content; an absent ``other`` has not."""
    try:
        with open(one, "rb") as first, open(other, "rb") as second:
            if os.fstat(first.fileno()).st_size != os.fstat(second.fileno()).st_size:
                return False
            while block := first.read(_BLOCK):
                if block != second.read(_BLOCK):
                    return False
            return True
    except FileNotFoundError:
        return False


def _touch(cached: bytes) -> bool:
    """Let a file of the cache count as just used; false where it is gone."""
    try:
        os.utime(cached)
    except FileNotFoundError:
        return False
    return True
