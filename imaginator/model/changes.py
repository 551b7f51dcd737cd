"""What a build did to a tree: the differences that the sandbox reads off, and the touches that make a layer whole.

A tree under construction is the source's layers with an *upper* directory over them (overlayfs), or a plain directory
for a bootstrap, whose every path is then a change. All paths are absolute bytes (``/usr/bin/ping``; the root is ``/``).
"""

from __future__ import annotations

from typing import NamedTuple

from imaginator.model.tree import Inode


class Change(NamedTuple):
    """One path that the upper speaks of, as seen in the merged tree.

    ``inode`` is None where the path is gone from the image (a whiteout) or is a socket, which no image holds. A
    regular file's ``object`` is not known yet. ``opaque``: a directory that hides what the source has beneath it.
    ``number`` is equal for the names of one file: its inode number where it has several links, else 0.
    """

    path: bytes
    inode: Inode | None
    opaque: bool = False
    number: int = 0


class Content(NamedTuple):
    """A regular file's content: SHA-512 digest (empty for no bytes), size in bytes, and whether it was new here."""

    path: bytes
    digest: bytes
    size: int
    new: bool


class Touches(NamedTuple):
    """What makes an upper equal to its image, done after the overlay is gone, but for ``groups``.

    ``absent``: paths to remove, and to white out where a source layer has them. ``groups``: hard-link groups, each to
    be in the upper under all its names, which overlayfs itself sees to. ``empty``: computed files, kept as empty files
    with their metadata. ``times``: paths whose mtime is set, in nanoseconds. Directories keep the times that they had
    before the touches.
    """

    absent: tuple[bytes, ...] = ()
    groups: tuple[tuple[bytes, ...], ...] = ()
    empty: tuple[bytes, ...] = ()
    times: tuple[tuple[bytes, int], ...] = ()
