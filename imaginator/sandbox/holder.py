"""One build's tree: its overlay mount, every operation on its files, and the commands in it.

In a process of its own (see `serving`). The workspace has ``upper``, ``work`` and ``merged``; the lower directories are
topmost first, and without any the upper is the tree. Commands are forked from this process (see `enter`), which takes a
tenth of the time that starting an interpreter takes. Standard library only.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator

from imaginator.sandbox.beneath import Root, read_all, remove_path, write_all
from imaginator.sandbox.collecting import Collection
from imaginator.sandbox.confinement import MOUNTED, Confinement
from imaginator.sandbox.copying import append_tree, copy_flat, copy_tree
from imaginator.sandbox.denials import Denials
from imaginator.sandbox.enter import Entry, launch
from imaginator.sandbox.finishing import Upper, copy_metadata
from imaginator.sandbox.ground import Ground
from imaginator.sandbox.interior import is_real_directory
from imaginator.sandbox.kernel.mounts import MNT_DETACH, mount, unmount
from imaginator.sandbox.kernel.privileges import files_as
from imaginator.sandbox.network import OPEN, Network
from imaginator.sandbox.offering import Offer, Places
from imaginator.sandbox.origin import Origin
from imaginator.sandbox.owners import ON_DISK
from imaginator.sandbox.restoring import Restoration
from imaginator.sandbox.rooting import Binding
from imaginator.sandbox.scanning import look, lookup, paths_of, scan
from imaginator.sandbox.verifying import digests, providers, survey

TYPE_CHECKING = False  # importing typing would take as long as starting Python does
if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from typing import Any

    from imaginator.sandbox.network import Destinations
    from imaginator.sandbox.scanning import Inode

PAGE = 4096
"""mount(2) silently cuts its options off here."""

OVERLAY_OPTIONS = b"index=on,metacopy=off,redirect_dir=off,volatile"


class Holder:
    """The tree and its operations: a method a request, named like it.

    ``policy`` is the system-call filter of the commands' confinement and the names of the calls that it leaves to be
    answered; without one, commands are the host's root (a bootstrap). ``destinations`` are what the network of
    confined commands reaches. Without lowers the tree may be a directory elsewhere, its ``place``.
    """

    def __init__(
        self,
        ground: Ground,
        lowers: list[bytes],
        policy: tuple[bytes, dict[tuple[int, int], str]] | None,
        destinations: Destinations = OPEN,
        place: bytes = b"",
    ) -> None:
        self._ground = ground
        self._directory = ground.directory
        self._lowers = lowers
        self._upper = ground.upper
        self._merged = os.path.join(ground.directory, b"merged") if lowers else self._upper
        ground.cover(place)
        self._workspace = ground.working
        self._confinement = Confinement(os.path.join(ground.directory, b"scratch"), *policy) if policy else None
        self._network = Network(self._confinement.namespace, destinations) if self._confinement else None
        self._owners = self._confinement.owners if self._confinement and lowers else ON_DISK
        self._mounted = False
        if lowers:
            self._mount()
        self._shown = self._merged
        if self._confinement and not lowers:
            self._shown = self._confinement.show(self._upper, b"tree", read_only=False)
        self._root = Root(self._merged, self._owners)
        self._restoration: Restoration | None = None
        self._commands: set[int] = set()
        self._collections: list[Collection] = []
        self._offer: Offer | None = None

    def _mount(self) -> None:
        if not self._ground.was_mounted():
            # A fresh upper's root covers the source's: it must be the same directory to begin with.
            copy_metadata(self._lowers[0], self._upper)
        lowers, workspace = self._names()
        options = b"lowerdir=%b,upperdir=%b/upper,workdir=%b/work,%b" % (
            b":".join(map(_escaped, lowers)),
            _escaped(workspace),
            _escaped(workspace),
            OVERLAY_OPTIONS,
        )
        if len(options) >= PAGE:
            raise OSError(errno.E2BIG, f"{len(self._lowers)} layers are more than one mount can name", "")
        # What overlayfs makes by itself, it makes as who mounted it: that must be an id which the upper has.
        with files_as(self._owners.first):
            mount(b"overlay", self._merged, b"overlay", MOUNTED, options)
        self._mounted = True
        os.chdir("/")

    def _names(self) -> tuple[list[bytes], bytes]:
        """Changes to where the layers and the workspace have short names, and gives these.

        mount(2) takes a page of options: relative names make a long chain fit into it.
        """
        if self._confinement is None:
            layers = os.path.dirname(self._lowers[0])
            os.chdir(layers)
            return [os.path.relpath(lower, layers) for lower in self._lowers], self._workspace
        folders: dict[bytes, bytes] = {}
        for folder in map(os.path.dirname, self._lowers):
            if folder not in folders:
                folders[folder] = b"%d" % len(folders)
                self._confinement.show(folder, folders[folder], read_only=True)
        self._workspace = self._confinement.show(self._workspace, b"own", read_only=False)
        os.chdir(self._confinement.scratch)
        return [
            os.path.join(folders[os.path.dirname(lower)], os.path.basename(lower)) for lower in self._lowers
        ], b"own"

    def start(self, options: dict[str, Any], output: int, status: int, given: int | None = None) -> int:
        """Start a command (see `enter.Entry`); its process.

        ``output``, ``status`` and ``given`` are the daemon's descriptors of the pipes that it writes to, that tell its
        end, and that it reads.
        """
        pipes = [_pipe_of_daemon(number, os.O_WRONLY) for number in (output, status)]
        if given is not None:
            pipes.append(_pipe_of_daemon(given, os.O_RDONLY))
        try:
            pid = launch(self._entry(options), *pipes)
        finally:
            for pipe in pipes:
                os.close(pipe)
        self._commands.add(pid)
        return pid

    def _entry(self, options: dict[str, Any]) -> Entry:
        offered = self._offer.directory if self._offer else None
        binds = [Binding(source, target, writable, source == offered) for source, target, writable in options["binds"]]
        denials = Denials(self._ground.entrances, self._ground.disk)
        return Entry(self._shown, options, binds, self._confinement, denials, self._network)

    def _writing(self) -> AbstractContextManager[None]:
        """What is made in the tree meanwhile belongs to the image's root."""
        return files_as(self._owners.first)

    def reap(self) -> None:
        """Let the launchers that have ended go; they tell of their commands' ends themselves."""
        self._commands -= {pid for pid in self._commands if os.waitpid(pid, os.WNOHANG)[0]}

    def read(self, path: bytes, limit: int) -> bytes | None:
        """At most ``limit`` bytes of a file, links followed; None where there is no file."""
        try:
            descriptor = self._root.open(path, os.O_RDONLY | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        try:
            return read_all(descriptor, limit) if stat.S_ISREG(os.fstat(descriptor).st_mode) else None
        finally:
            os.close(descriptor)

    def write(self, path: bytes, data: bytes, mode: int) -> None:
        """Write a file through the image's links; a new one gets ``mode``."""
        with self._writing():
            self._root.make_directories(os.path.dirname(path))
            descriptor = self._open_for_writing(path, mode)
        try:
            write_all(descriptor, data)
        finally:
            os.close(descriptor)

    def _open_for_writing(self, path: bytes, mode: int) -> int:
        try:
            return self._root.open(path, os.O_WRONLY | os.O_TRUNC | os.O_NONBLOCK)
        except FileNotFoundError:
            with self._root.parent(self._root.make_place(path)) as (directory, name):
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                descriptor = os.open(name, flags, 0o600, dir_fd=directory)
            os.fchown(descriptor, self._owners.first, self._owners.first)
            os.fchmod(descriptor, mode)
            return descriptor

    def stat(self, path: bytes) -> Inode | None:
        """The inode at a path, not following a link at its end."""
        if path == b"/":
            return look(self._merged, self._owners)[0]
        try:
            with self._root.parent(path) as (directory, name):
                return look(b"/proc/self/fd/%d/%b" % (directory, name), self._owners)[0]
        except (FileNotFoundError, NotADirectoryError):
            return None

    def remove(self, paths: list[bytes]) -> None:
        """Remove paths of the tree, none of which leads through a link, with what is below them."""
        for path in paths:
            self._root.remove_own(path)

    def copy_in(self, manifest: bytes, part: bytes, target: bytes) -> None:
        """Copy a directory of a manifest over the tree."""
        with Origin(manifest, part) as source, self._writing():
            copy_tree(self._root, source, target)

    def append_in(self, manifest: bytes, part: bytes) -> list[bytes]:
        """Append the files of a directory of a manifest to the tree's; the links that were skipped."""
        with Origin(manifest, part) as source, self._writing():
            return append_tree(self._root, source)

    def copy_flat(self, manifest: bytes, part: bytes, target: bytes, mode: int) -> list[bytes]:
        """Copy the files of one directory of a manifest."""
        with Origin(manifest, part) as source, self._writing():
            return copy_flat(self._root, source, target, mode)

    def make_mount_points(self, paths: list[bytes]) -> list[bytes]:
        """Make directories where nothing is; those that were made, parents first."""
        made = []
        for path in paths:
            for parent in _with_parents(path):
                if self._root.status(parent) is None:
                    with self._writing():
                        self._root.make_directories(parent)
                    made.append(parent)
        return made

    def remove_mount_points(self, paths: list[bytes]) -> None:
        """Remove directories again where they are empty."""
        for path in reversed(paths):
            try:
                with self._root.parent(path) as (directory, name):
                    os.rmdir(name, dir_fd=directory)
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENOTEMPTY, errno.ENOTDIR):
                    raise

    def offer_packages(self, target: bytes, cache: bytes, offer_in: bytes) -> tuple[bytes, int] | None:
        """Offer what a cache holds to commands that see the directory, which is returned, at ``target``."""
        with self._root.place(target) as place:
            if place is None or not is_real_directory(os.fsdecode(place)):
                return None
        self._offer = Offer(self._offer_places(), self._owners.first, cache)
        return self._offer.directory, self._offer.open(offer_in)

    def _offer_places(self) -> Places:
        """Hard links of the cache lie where the cache does; what the build writes, on its own disk."""
        links, changes = (os.path.join(place, b"packages") for place in (self._directory, self._ground.working))
        os.makedirs(links, mode=0o755, exist_ok=True)
        os.makedirs(changes, mode=0o755, exist_ok=True)
        if self._confinement is None:
            return Places(links, links, changes, changes)
        shown = os.path.join(self._confinement.scratch, b"packages")
        if not os.path.exists(shown):
            self._confinement.show(links, b"packages", read_only=True)
        return Places(links, shown, changes, os.path.join(self._workspace, b"packages"))

    def keep_packages(self, suffix: bytes, room: int) -> tuple[int, int]:
        """End the offer and keep what was downloaded; how many files, and how many of the cache were used."""
        offer, self._offer = self._offer, None
        return offer.keep(suffix, room) if offer else (0, 0)

    def executables(self, path: bytes) -> list[bytes]:
        """The regular files below a directory whose owner may execute them, links not followed."""
        status = self._root.status(path)
        if status is None or not stat.S_ISDIR(status.st_mode):
            return []
        found = []
        for child in self._below(path):
            status = os.lstat(self._merged + child)
            if stat.S_ISREG(status.st_mode) and status.st_mode & stat.S_IXUSR:
                found.append(child)
        return found

    def _below(self, path: bytes) -> Iterator[bytes]:
        with os.scandir(self._merged + path) as entries:
            names = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
        for name, is_directory in names:
            child = os.path.join(path, name)
            yield child
            if is_directory:
                yield from self._below(child)

    def scan(self) -> Iterator[Any]:
        """What the upper says."""
        return scan(self._upper, self._merged, self._owners)

    def changed_paths(self) -> Iterator[bytes]:
        """The paths that the upper speaks of."""
        return paths_of(self._upper)

    def lookup(self, paths: list[bytes]) -> Iterator[Any]:
        """Paths as the merged tree has them."""
        return lookup(paths, self._root)

    def gather(self, paths: list[bytes], objects: bytes) -> Iterator[Any]:
        """Hash files and write down their content."""
        scratch = os.path.join(self._directory, b"new%d" % len(self._collections))
        collection = Collection(self._upper, self._merged, objects, scratch)
        self._collections.append(collection)
        self._ground.check()
        return collection.gather(paths)

    def publish(self) -> list[bytes]:
        """Make objects of what was written down last; what was known and is not there any more."""
        return self._collections[-1].publish()

    def survey(self) -> Iterator[Any]:
        """Every path of the tree."""
        return survey(self._merged, self._owners)

    def digests(self, paths: list[bytes], folder: bytes) -> Iterator[Any]:
        """The digests of files below a directory of the host; of the tree where that is empty."""
        return digests(paths, folder or self._merged)

    def providers(self, paths: list[bytes]) -> list[int]:
        """The place of the lower that shows each path."""
        return providers(paths, self._lowers)

    def finish(self, touches: tuple[Any, ...]) -> int:
        """Unmount the overlay and make the upper equal to the image; the bytes that it takes."""
        absent, groups, empty, times = touches
        if self._mounted:
            for name in (name for group in groups for name in group):
                self._copy_up(name)
        self._root.close()
        if self._mounted:
            unmount(self._merged, MNT_DETACH)
            self._mounted = False
        upper = Upper(self._upper, self._lowers)
        for path in absent:
            upper.make_absent(path)
        for path in empty:
            upper.make_empty(path)
        for path, mtime in times:
            upper.set_time(path, mtime)
        size = upper.settle()
        # Its index holds another link of each file of a hard-link group that was copied up.
        remove_path(self._ground.work)
        self._ground.uncover()
        return size

    def _copy_up(self, path: bytes) -> None:
        """Let the upper hold a name of a hard-link group that has changed under another one.

        Only overlayfs knows the changed file where all names that the upper had are gone: it keeps it in its index.
        """
        with self._root.place(path) as place:
            assert place is not None
            status = os.lstat(place)
            os.utime(place, ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=False)

    def restore(self, entries: list[Any], objects: bytes) -> None:
        """Make some paths of an empty tree from their metadata and objects."""
        if self._restoration is None:
            self._restoration = Restoration(self._upper, objects)
        self._restoration.add(entries)

    def restored(self) -> int:
        """All paths are there; the bytes that they take."""
        restoration, self._restoration = self._restoration, None
        return restoration.settle() if restoration else 0


def _pipe_of_daemon(number: int, flags: int) -> int:
    """Opened by its number in the other process, a pipe needs no socket to be passed over."""
    return os.open(f"/proc/{os.getppid()}/fd/{number}", flags | os.O_CLOEXEC)


def _escaped(path: bytes) -> bytes:
    """A path as overlayfs' options want it."""
    return path.replace(b"\\", b"\\\\").replace(b":", b"\\:").replace(b",", b"\\,")


def _with_parents(path: bytes) -> list[bytes]:
    parts = path.strip(b"/").split(b"/")
    return [b"/" + b"/".join(parts[: count + 1]) for count in range(len(parts))]
