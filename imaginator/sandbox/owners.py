"""Whose a tree's files are: id n of an image is id ``first + n`` of the host while a build works on it.

A build's commands are root in a user namespace whose ids are a range of the host's that no other build has. Files keep
their real owners on disk: the layers are shown through id-mapped mounts. The holder lies outside of that namespace and
sees shifted ids, which `Owners` turns into the image's and back. Standard library only (see `holder`).

The ranges begin at 0x70000000, which systemd's table of ids ("Users, Groups, UIDs and GIDs on systemd Systems") leaves
unused; each is a million ids long, so that an image may have far more than the usual 65536.
"""

from __future__ import annotations

import fcntl
import os
import struct

from imaginator.sandbox.kernel.namespaces import CLONE_NEWUSER, map_ids, open_namespace, unshare

FIRST = 0x70000000
COUNT = 1 << 20
RANGES = 256
LOCK = "/run/imaginator.ids"
"""Byte n is locked by the holder that has range n: of all daemons of this host, and no longer than it lives."""

_ACL = ("system.posix_acl_access", "system.posix_acl_default")
_CAPABILITY = "security.capability"
_REVISION = 0xFF000000
_REVISION_2 = 0x02000000
_REVISION_3 = 0x03000000
_NO_ID = 0xFFFFFFFF


class Owners:
    """The ids of a tree whose owners are shifted by ``first``; 0 for one that is seen as it lies on disk."""

    def __init__(self, first: int = 0) -> None:
        self.first = first

    def image(self, owner: int) -> int:
        """The image's id for one of the host's."""
        return owner - self.first if self.first <= owner < self.first + COUNT else owner

    def attribute(self, name: str, value: bytes) -> bytes:
        """An extended attribute as the image has it: access lists and file capabilities hold ids too."""
        if not self.first:
            return value
        if name in _ACL:
            return self._access_list(value)
        return self._capability(value) if name == _CAPABILITY else value

    def _access_list(self, value: bytes) -> bytes:
        """Entries of tag, permissions and id after a version (linux/posix_acl_xattr.h)."""
        entries = struct.iter_unpack("<HHI", value[4:])
        return value[:4] + b"".join(
            struct.pack("<HHI", tag, permissions, owner if owner == _NO_ID else self.image(owner))
            for tag, permissions, owner in entries
        )

    def _capability(self, value: bytes) -> bytes:
        """Revision 3 names the root of a user namespace; the image's own is what revision 2 means (capabilities(7))."""
        magic = int.from_bytes(value[:4], "little")
        if magic & _REVISION != _REVISION_3:
            return value
        root = self.image(int.from_bytes(value[20:24], "little"))
        if root:
            return value[:20] + root.to_bytes(4, "little")
        return (magic & ~_REVISION | _REVISION_2).to_bytes(4, "little") + value[4:20]


ON_DISK = Owners()


class UserNamespace:
    """A user namespace with a range of ids of its own, as long as this process lives.

    ``descriptor`` is for setns(2) and id-mapped mounts; ``first`` is what its root is on the host.
    """

    def __init__(self) -> None:
        # POSIX locks end with the process, and when it closes any descriptor of the file: this one stays open.
        self._lock = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        self.first = FIRST + COUNT * _free_range(self._lock)
        self.descriptor = _user_namespace(self.first)


def _free_range(lock: int) -> int:
    for number in range(RANGES):
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
        except BlockingIOError:
            continue
        return number
    raise OSError(f"all {RANGES} ranges of ids are taken by running builds")


def _user_namespace(first: int) -> int:
    """A descriptor of a new user namespace, which a process must make that gives itself up for it."""
    ready_source, ready_sink = os.pipe()
    done_source, done_sink = os.pipe()
    pid = os.fork()
    if pid == 0:
        _wait_in_new_namespace(ready_sink, done_source, done_sink)
    os.close(ready_sink)
    try:
        problem = os.read(ready_source, 4096)
        if problem != b"ready":
            reason = os.fsdecode(problem) or "the process that makes it was killed"
            raise OSError(f"no user namespace can be made: {reason}")
        map_ids(pid, first, COUNT)
        return open_namespace(pid, "user")
    finally:
        for descriptor in (ready_source, done_source, done_sink):
            os.close(descriptor)
        os.waitpid(pid, 0)


def _wait_in_new_namespace(ready: int, done: int, held: int) -> None:
    """Until the parent, whose end of the pipe ``done`` is ``held`` here as well, closes it."""
    try:
        os.close(held)
        unshare(CLONE_NEWUSER)
        os.write(ready, b"ready")
        os.read(done, 1)
    except OSError as error:
        os.write(ready, os.fsencode(str(error)))
    finally:
        os._exit(0)
