"""Trees and what is said of images, as Dominator's programs exchange them: inodes by number, directories of numbers.

The shapes are those that the recorded conversations of ``tests/srpc/recordings`` define, in their order; kinds of inode
that none of them has are those of Dominator's ``lib/filesystem``.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from imaginator.srpc.kinds import Called, Int32, Interface, Message, Moment, Octets, Pointed, Uint, Uint32

Hash = Annotated[bytes, Octets(64), Called("Hash")]
"""A SHA-512 sum."""


class DirectoryEntry(Message, frozen=True):
    """A name, and the number of what has it."""

    name: str = ""
    inode_number: Uint = 0


class DirectoryInode(Message, frozen=True):
    """A directory; the table by name is made where it is received."""

    entry_list: Annotated[list[Annotated[DirectoryEntry, Pointed()]], Called("[]*filesystem.DirectoryEntry")] = []
    entries_by_name: Annotated[
        dict[str, Annotated[DirectoryEntry, Pointed()]], Called("map[string]*filesystem.DirectoryEntry")
    ] = {}
    mode: Uint32 = 0
    uid: Uint32 = 0
    gid: Uint32 = 0


class RegularInode(Message, frozen=True):
    """A file, whose content is an object unless it is empty."""

    mode: Uint32 = 0
    uid: Uint32 = 0
    gid: Uint32 = 0
    mtime_nano_seconds: Int32 = 0
    mtime_seconds: int = 0
    size: Uint = 0
    hash: Hash = bytes(64)


class ComputedRegularInode(Message, frozen=True):
    """A file that a file generator, at ``source``, makes for each machine."""

    mode: Uint32 = 0
    uid: Uint32 = 0
    gid: Uint32 = 0
    source: str = ""


class SymlinkInode(Message, frozen=True):
    """A symbolic link."""

    uid: Uint32 = 0
    gid: Uint32 = 0
    symlink: str = ""


class SpecialInode(Message, frozen=True):
    """A device, a pipe or a socket."""

    mode: Uint32 = 0
    uid: Uint32 = 0
    gid: Uint32 = 0
    mtime_nano_seconds: Int32 = 0
    mtime_seconds: int = 0
    rdev: Uint = 0


INODES = (DirectoryInode, RegularInode, ComputedRegularInode, SymlinkInode, SpecialInode)
GENERIC = Interface(tuple((f"*filesystem.{one.__name__}", one) for one in INODES))


class FileSystem(Message, frozen=True):
    """A tree: inodes by their numbers, beside the root."""

    inode_table: Annotated[dict[Uint, Annotated[Message, GENERIC]], Called("InodeTable")] = {}
    num_regular_inodes: Uint = 0
    total_data_bytes: Uint = 0
    directory_count: Uint = 0
    directory_inode: DirectoryInode = DirectoryInode()


class Filter(Message, frozen=True):
    """What is left out of an image, and out of the machines' updates; no lines leave out nothing."""

    filter_lines: list[str] = []


class Trigger(Message, frozen=True):
    """What is done on a machine when files change that match."""

    match_lines: list[str] = []
    service: str = ""
    sort_name: str = ""
    do_reboot: bool = False
    do_reload: bool = False
    high_impact: bool = False


class Triggers(Message, frozen=True):
    """All of an image."""

    triggers: Annotated[list[Annotated[Trigger, Pointed()]], Called("[]*triggers.Trigger")] = []


class Annotation(Message, frozen=True):
    """A text beside an image: an object, or where it lies."""

    object: Hash | None = None
    url: str = msgspec.field(default="", name="URL")


class Package(Message, frozen=True):
    """A package that is installed in an image; its size is in bytes."""

    name: str = ""
    size: Uint = 0
    version: str = ""


class Image(Message, frozen=True):
    """An image; without a filter it is a sparse one, of a few files that machines get beside their own."""

    build_branch: str = ""
    build_commit_id: str = ""
    build_git_url: str = ""
    created_by: str = ""
    created_for: str = ""
    filter: Filter | None = None
    file_system: FileSystem | None = None
    triggers: Triggers | None = None
    release_notes: Annotation | None = None
    build_log: Annotation | None = None
    created_on: Moment | None = None
    expires_at: Moment | None = None
    owner_groups: list[str] = []
    owner_users: list[str] = []
    packages: Annotated[list[Package], Called("[]image.Package")] = []
    source_image: str = ""
    tags: Annotated[dict[str, str], Called("Tags")] = {}
