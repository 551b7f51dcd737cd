"""What a command gets as its root: the build's tree, or a view of it to be thrown away, with bind mounts in it.

Done by the launcher while it is still the host's root, in a mount namespace of its own. Standard library only.
"""

from __future__ import annotations

import os

from imaginator.sandbox.confinement import MOUNTED, Confinement
from imaginator.sandbox.kernel.files import open_beneath
from imaginator.sandbox.kernel.mounts import MS_BIND, MS_NOEXEC, MS_NOSUID, MS_RDONLY, MS_REMOUNT, mount
from imaginator.sandbox.kernel.privileges import files_as


class Binding:
    """A directory of the host that a command sees at ``target``, an absolute path of the tree.

    What is mounted below the source on the host is seen below the target. ``mapped`` says that the source shows the
    build's own ids already.
    """

    def __init__(self, source: bytes, target: bytes, writable: bool, mapped: bool = False) -> None:
        self.source = source
        self.target = target
        self.writable = writable
        self.mapped = mapped


def build_root(confinement: Confinement, tree: bytes, discard: bool, binds: list[Binding]) -> None:
    """Make the root for one command and change to it; ``tree`` is where the build's tree is mounted with its ids.

    The build's device nodes take the place of the host's: the build's root may not search the directories on the way to
    anything else that the holder has mounted.
    """
    root = _throw_away(confinement, tree) if discard else tree
    for binding in binds:
        _bind(confinement, root, binding)
    os.chdir(root)
    mount(confinement.devices, b"/dev", b"", MS_BIND)
    mount(b"none", b"/dev", b"", MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NOEXEC)


def _throw_away(confinement: Confinement, tree: bytes) -> bytes:
    """A view of the tree whose changes lie in memory, and end with this namespace."""
    place = os.path.join(confinement.scratch, b"discard")
    os.makedirs(place, exist_ok=True)  # tests run at the same time, each in a mount namespace of its own
    root = confinement.first
    mount(b"tmpfs", place, b"tmpfs", MOUNTED, b"mode=0755,uid=%d,gid=%d" % (root, root))
    # Relative names, and one without the path of the state directory, need no escapes in overlayfs' options.
    os.symlink(tree, os.path.join(place, b"below"))
    os.chdir(place)
    with files_as(root):
        for name in (b"upper", b"work", b"tree"):
            os.mkdir(name, 0o755)
        mount(b"overlay", b"tree", b"overlay", MOUNTED, b"lowerdir=below,upperdir=upper,workdir=work")
    os.chdir("/")
    return os.path.join(place, b"tree")


def _bind(confinement: Confinement, root: bytes, binding: Binding) -> None:
    target = _mount_point(root, binding.target)
    try:
        path = b"/proc/self/fd/%d" % target
        if not binding.mapped:
            confinement.bind(binding.source, path, read_only=not binding.writable, below=True)
            return
        mount(binding.source, path, b"", MS_BIND)
        if not binding.writable:
            # One call cannot do both: Linux ignores MS_RDONLY where a bind mount is made.
            mount(b"none", path, b"", MS_BIND | MS_REMOUNT | MS_RDONLY | MOUNTED)
    finally:
        os.close(target)


def _mount_point(root: bytes, target: bytes) -> int:
    """The directory to mount upon, through the image's own links: ``/lib/modules`` may lie in ``/usr/lib``."""
    directory = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        place = open_beneath(directory, target, os.O_PATH | os.O_DIRECTORY)
    except OSError as error:
        problem = "no directory of the image: a bind mount needs one"
        raise OSError(error.errno, problem, os.fsdecode(target)) from None
    finally:
        os.close(directory)
    return place
