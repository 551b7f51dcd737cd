"""A state machine: random operations on an overlay and on a plain copy give the same image and the same child.

Each build computes its image from the upper, proves it by a full scan, and must come to the tree that a scan of the
copy gives. What the next build then sees over the new layers, and what is restored from objects, equal the copy: in
content, owners, modes, attributes, times to the nanosecond and link counts. ``IMAGINATOR_FUZZ=COUNT`` (``make fuzz``)
tries so many examples that nobody has tried yet.
"""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest_twisted
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from twisted.internet.defer import Deferred
from twisted.internet.threads import blockingCallFromThread, deferToThread

from imaginator.build.pack import Packing, pack
from imaginator.build.proof import Prover
from imaginator.model.filters import Filter
from imaginator.model.image import Image
from imaginator.model.tree import Inode, Kind, Node, decode_node, walk
from imaginator.sandbox.limits import Limits
from imaginator.sandbox.sandbox import Profile, Sandbox, Workspace
from imaginator.store.difference import differences
from imaginator.store.layers import Layers
from imaginator.store.merkle import Merged, Rules, merge, paths_to_collect
from imaginator.store.restoring import Restorer
from tests.support import sandboxes
from tests.support.real_reactor import reactor
from tests.support.store_parts import StoreParts, draft
from tests.support.twin_trees import (
    ACL,
    CAPABILITY,
    OLD,
    Twins,
    bind_socket,
    everything,
    make_source,
    remove,
    remove_attribute,
    replace_directory,
    truncate,
    write,
)

EXAMPLES = int(os.environ.get("IMAGINATOR_FUZZ", "0"))
NAMES = st.sampled_from([b"a", b"b", b"d", b"n\xff"])
PATHS = st.one_of(
    st.lists(NAMES, min_size=1, max_size=3).map(lambda names: b"/" + b"/".join(names)),
    NAMES.map(lambda name: b"/tmp/" + name),
)
CONTENTS = st.sampled_from([b"", b"text", b"other text", bytes(70_000) + b"end", b"x" * 5_000 + bytes(100_000)])
TIMES = st.integers(OLD, OLD + 10**12)
ATTRIBUTES = st.sampled_from(
    [
        ("user.test", b"1"),
        ("user.test", b"2"),
        ("trusted.test", b"3"),
        ("security.capability", CAPABILITY),
        ("system.posix_acl_access", ACL),
        ("system.posix_acl_default", ACL),
    ]
)
KINDS = st.sampled_from([(stat.S_IFCHR, os.makedev(5, 1)), (stat.S_IFBLK, os.makedev(7, 3)), (stat.S_IFIFO, 0)])
FILTERS = st.sampled_from([(), ("/b(/.*)?$",), ("/a/b/.*",), ("!", "/[abd].*", "/tmp")])


def wait(work: Coroutine[Deferred[Any], Any, Any]) -> Any:
    """What a coroutine returns that the reactor's thread runs; the machine has one of its own."""
    return blockingCallFromThread(reactor, Deferred.fromCoroutine, work)


class Machine(RuleBasedStateMachine):
    """A chain of builds, each over the one before."""

    def __init__(self) -> None:
        super().__init__()
        self.closing = contextlib.ExitStack()
        self.folder = Path(self.closing.enter_context(tempfile.TemporaryDirectory(prefix="machine-")))
        self.closing.callback(os.umask, os.umask(0o022))
        self.parts = StoreParts(self.folder)
        self.parts.catalogue.startService()
        self.closing.callback(self.parts.catalogue.stopService)
        self.parts.workers.startService()
        self.closing.callback(self.parts.workers.stopService)
        nodes, objects = self.parts.store.nodes(), self.parts.objects.directory
        self.restore = Restorer(reactor, objects)
        self.layers = Layers(self.folder / "layers", self.parts.catalogue, nodes, self.parts.workers, self.restore)
        self.prover = Prover(self.parts.workers, nodes, objects)
        self.packing = Packing(self.parts.workers, nodes, objects, self.prover)
        self.plain = Workspace(self.folder / "plain")
        self.sandbox: Sandbox | None = None
        self.generation = 0

    @initialize()
    def begin(self) -> None:
        """The source image, and its copy."""
        self.plain.directory.mkdir()
        first = Workspace(self.folder / "first")
        for workspace in (self.plain, first):
            workspace.directory.mkdir(exist_ok=True)
        make_source(self.plain.upper)
        subprocess.run(["cp", "-a", self.plain.upper, first.upper], check=True)
        self.image: Image = wait(self._made(first, None, (), Rules()))
        self._open()

    def teardown(self) -> None:
        """Whatever was done is built in the end."""
        try:
            if self.sandbox is not None:
                self._build(Rules())
        finally:
            if self.sandbox is not None:
                wait(self.sandbox.close())
            self.closing.close()

    @rule(path=PATHS, content=CONTENTS, offset=st.sampled_from([0, 3, 200_000]))
    def write(self, path: bytes, content: bytes, offset: int) -> None:
        """Write anywhere in a file, past its end too."""
        self.twins.do(lambda root: write(root + path, content, offset, 0))

    @rule(path=PATHS, content=CONTENTS, flags=st.sampled_from([os.O_TRUNC, os.O_APPEND, os.O_EXCL]))
    def rewrite(self, path: bytes, content: bytes, flags: int) -> None:
        """Replace a file's content, append to it, or make it."""
        self.twins.do(lambda root: write(root + path, content, 0, flags))

    @rule(path=PATHS, size=st.sampled_from([0, 1, 100_000]))
    def truncate(self, path: bytes, size: int) -> None:
        """Cut a file off, or leave a hole at its end."""
        self.twins.do(lambda root: truncate(root + path, size))

    @rule(path=PATHS)
    def make_directory(self, path: bytes) -> None:
        """Make a directory, perhaps where one was removed."""
        self.twins.do(lambda root: os.mkdir(root + path, 0o755))

    @rule(path=PATHS)
    def remove(self, path: bytes) -> None:
        """Remove a path with what is below it."""
        self.twins.do(lambda root: remove(root + path))

    @rule(path=PATHS)
    def replace_directory(self, path: bytes) -> None:
        """Remove a directory and make another one in its place, which hides all of the source's."""
        self.twins.do(lambda root: replace_directory(root + path))

    @rule(source=PATHS, name=PATHS)
    def move(self, source: bytes, name: bytes) -> None:
        """Rename a file or a directory."""
        self.twins.move(source, name)

    @rule(source=PATHS, name=PATHS)
    def link(self, source: bytes, name: bytes) -> None:
        """Give a file another name."""
        self.twins.do(lambda root: os.link(root + source, root + name, follow_symlinks=False))

    @rule(path=PATHS, aim=st.sampled_from([b"a", b"d/b", b"nowhere"]))
    def symlink(self, path: bytes, aim: bytes) -> None:
        """Make a symbolic link, which later operations follow."""
        self.twins.do(lambda root: os.symlink(aim, root + path))

    @rule(path=PATHS, mode=st.sampled_from([0o600, 0o755, 0o2755, 0o4711, 0o1777]))
    def chmod(self, path: bytes, mode: int) -> None:
        """Change a mode, set-id bits included."""
        self.twins.do(lambda root: os.chmod(root + path, mode))

    @rule(path=PATHS, owner=st.sampled_from([0, 1000, 100_000]))
    def chown(self, path: bytes, owner: int) -> None:
        """Change an owner, of links too."""
        self.twins.do(lambda root: os.chown(root + path, owner, owner + 1, follow_symlinks=False))

    @rule(path=PATHS, time=TIMES)
    def utime(self, path: bytes, time: int) -> None:
        """Change a time, to the nanosecond."""
        self.twins.do(lambda root: os.utime(root + path, ns=(time, time), follow_symlinks=False))

    @rule(path=PATHS, attribute=ATTRIBUTES)
    def set_attribute(self, path: bytes, attribute: tuple[str, bytes]) -> None:
        """Set an extended attribute, a capability or an access control list."""
        self.twins.do(lambda root: os.setxattr(root + path, *attribute, follow_symlinks=False))

    @rule(path=PATHS, attribute=ATTRIBUTES)
    def remove_attribute(self, path: bytes, attribute: tuple[str, bytes]) -> None:
        """Remove one."""
        self.twins.do(lambda root: remove_attribute(root + path, attribute[0]))

    @rule(path=PATHS, kind=KINDS)
    def make_node(self, path: bytes, kind: tuple[int, int]) -> None:
        """Make a device or a fifo."""
        self.twins.do(lambda root: os.mknod(root + path, kind[0] | 0o640, kind[1]))

    @rule(path=PATHS)
    def make_socket(self, path: bytes) -> None:
        """Make a socket, which no image holds."""
        self.twins.do(lambda root: bind_socket(root + path))

    @precondition(lambda self: self.generation < 3)
    @rule(lines=FILTERS, computed=st.none() | PATHS, lend=st.booleans())
    def build(self, lines: tuple[str, ...], computed: bytes | None, lend: bool) -> None:
        """Make an image, and go on in a build over it."""
        patterns = Filter(lines)
        rules = Rules(
            left_out=patterns.matches if lines else None,
            computed={computed: b"host:1"} if computed and self._can_be_computed(computed, patterns) else {},
            previous=self.image.root if lend else None,
        )
        self._build(rules)
        self._open()

    def _can_be_computed(self, path: bytes, patterns: Filter) -> bool:
        """Whether a path is one file of one name that stays in the image, reached through no link."""
        place = os.fsencode(self.plain.upper)
        parents = [path[:at] for at in range(1, len(path)) if path[at : at + 1] == b"/"]
        if any(os.path.islink(place + parent) or patterns.matches(parent) for parent in parents):
            return False
        if path.startswith(b"/tmp/") or patterns.matches(path) or not os.path.lexists(place + path):
            return False
        status = os.lstat(place + path)
        return stat.S_ISREG(status.st_mode) and status.st_nlink == 1

    def _open(self) -> None:
        self.generation += 1
        self.layer_ids, lowers = wait(self.layers.lowers(self.image))
        self.workspace = Workspace(self.folder / f"build{self.generation}", lowers)
        # Not confined: this process works in the tree itself, with the image's own ids and with devices.
        self.sandbox = wait(Sandbox.open(reactor, self.workspace, Profile.BOOTSTRAP, Limits()))
        self.twins = Twins(self._inside(self.sandbox, self.workspace), os.fsencode(self.plain.upper))

    def _inside(self, sandbox: Sandbox, workspace: Workspace) -> bytes:
        return b"/proc/%d/root%b" % (sandbox._channel.pid, os.fsencode(workspace.tree))

    def _build(self, rules: Rules) -> None:
        """Pack both trees, compare, and look at what a child and a restored tree show."""
        sandbox, self.sandbox = self.sandbox, None
        assert sandbox is not None
        try:
            self.twins.settle_times()
            expected = wait(self._scanned(rules))
            self.image = wait(self._packed(sandbox, self.workspace, rules))
        finally:
            wait(sandbox.close())
        self._compare(expected)
        self._follow(rules)
        copy = sandboxes.walk(self.plain.upper)
        assert copy == wait(self._seen_by_a_child())
        assert copy == wait(self._restored())

    async def _scanned(self, rules: Rules) -> Merged:
        """The image that a full scan of the copy gives."""
        sandbox = await Sandbox.open(reactor, self.plain, Profile.MANIFEST, Limits())
        try:
            changes = await sandbox.tree.scan()
            contents = await sandbox.tree.collect(paths_to_collect(changes, rules), self.packing.objects)
        finally:
            await sandbox.close()
        return merge(None, changes, contents, rules, self.packing.nodes)

    async def _made(self, workspace: Workspace, source: Image | None, ids: tuple[str, ...], rules: Rules) -> Image:
        sandbox = await Sandbox.open(reactor, workspace, Profile.MANIFEST, Limits())
        self.layer_ids, self.image = ids, source  # type: ignore[assignment]
        try:
            return await self._packed(sandbox, workspace, rules)
        finally:
            await sandbox.close()

    async def _packed(self, sandbox: Sandbox, workspace: Workspace, rules: Rules) -> Image:
        """The image of what was built, with its layer."""
        packed = await pack(self.packing, sandbox.tree, self.image, rules)
        merged = packed.merged
        figures = packed.figures
        made = draft("s", merged.root, links=merged.links, computed=merged.computed, figures=figures)
        async with self.layers.adopted(workspace.upper, packed.layer_size) as layer:
            return await self.parts.store.add(made, merged.nodes, [*self.layer_ids, layer])

    def _compare(self, expected: Merged) -> None:
        fresh, kept = expected.nodes, self.packing.nodes

        def read(node: bytes) -> Node:
            return decode_node(fresh[node]) if node in fresh else kept(node)

        assert [] == list(differences(expected.root, self.image.root, read))
        assert (expected.root, expected.links) == (self.image.root, self.image.links)

    def _follow(self, rules: Rules) -> None:
        """Let the copy be what the image is: without what was left out, computed files empty, times as lent."""
        inodes = {path: entry.inode for path, entry in walk(self.image.root, self.packing.nodes)}
        root = os.fsencode(self.plain.upper)
        for path in list(everything(root)):
            if path not in inodes:
                remove(root + path)
        for path, inode in inodes.items():
            if inode.kind is Kind.COMPUTED:
                os.truncate(root + path, 0)
        for path, inode in sorted(inodes.items(), reverse=True):
            os.utime(root + path, ns=(inode.mtime, inode.mtime), follow_symlinks=False)

    async def _seen_by_a_child(self) -> dict[bytes, Any]:
        _, lowers = await self.layers.lowers(self.image)
        workspace = Workspace(self.folder / f"look{self.generation}", lowers)
        sandbox = await Sandbox.open(reactor, workspace, Profile.BOOTSTRAP, Limits())
        try:
            return sandboxes.walk(Path(os.fsdecode(self._inside(sandbox, workspace))))
        finally:
            await sandbox.close()

    async def _restored(self) -> dict[bytes, Any]:
        entries: list[tuple[bytes, Inode]] = [
            (path, entry.inode) for path, entry in walk(self.image.root, self.packing.nodes)
        ]
        tree, _ = await self.restore(entries, self.folder / f"restored{self.generation}")
        return sandboxes.walk(tree)


@pytest_twisted.ensureDeferred
async def test_an_overlay_gives_the_image_and_the_child_of_a_plain_copy() -> None:
    """Whatever is done, in up to four generations of builds."""
    chosen = settings(
        max_examples=EXAMPLES or 25,
        stateful_step_count=40 if EXAMPLES else 25,
        derandomize=not EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],  # an example takes too long to be shrunk
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
    await deferToThread(run_state_machine_as_test, Machine, settings=chosen)
