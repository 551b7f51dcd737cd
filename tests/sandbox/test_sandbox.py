"""What commands see of the world, and that nothing of a sandbox is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet.defer import ensureDeferred, gatherResults

from imaginator.model.errors import BuildFailed
from imaginator.sandbox.kernel.mounts import mount, unmount
from imaginator.sandbox.limits import Limits, available
from imaginator.sandbox.process import Tail, finish
from imaginator.sandbox.sandbox import Bind, Profile, Sandbox, Workspace
from tests.sandbox.test_process import wait_until_gone
from tests.support.real_reactor import reactor
from tests.support.sandboxes import NO_LIMITS, opened, run, small_tree, walk


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A build over a small system."""
    return Workspace(tmp_path / "build", (small_tree(tmp_path / "source"),))


def holders(workspace: Workspace) -> Iterator[int]:
    """The processes that see a mount of the workspace."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if str(workspace.directory) in (entry / "mountinfo").read_text():
                    yield int(entry.name)
            except OSError:
                continue


@pytest_twisted.ensureDeferred
async def test_commands_see_the_tree_and_nothing_of_the_host(workspace: Workspace) -> None:
    """Their own root, process list, host name and environment."""
    async with opened(workspace) as sandbox:
        ended, said = await run(
            sandbox, "pwd; cat /etc/release; echo $$; echo $GREETING; cat /proc/sys/kernel/hostname; env"
        )

    lines = said.splitlines()
    assert ended.ok, said
    assert ["/", "small 1", "2", "hello", "build"] == lines[:5]
    assert {"PATH", "GREETING", "PWD"} >= {line.partition("=")[0] for line in lines[5:]} - {"SHLVL", "_"}


@pytest_twisted.ensureDeferred
async def test_namespaces_are_not_the_hosts(workspace: Workspace) -> None:
    """Mount, PID, IPC, UTS, and without network the network namespace differ from the host's."""
    kinds = ("mnt", "pid", "ipc", "uts", "net")
    async with opened(workspace) as sandbox:
        _, said = await run(sandbox, "; ".join(f"readlink /proc/self/ns/{kind}" for kind in kinds))

    ours = {os.readlink(f"/proc/self/ns/{kind}") for kind in kinds}
    assert len(kinds) == len(said.splitlines())
    assert ours.isdisjoint(said.splitlines())


@pytest_twisted.ensureDeferred
async def test_network_only_where_it_is_allowed(workspace: Workspace) -> None:
    """Without it there is a loopback alone."""
    async with opened(workspace) as sandbox:
        _, without = await run(sandbox, "ls /sys/class/net")
        _, with_it = await run(sandbox, "ls /sys/class/net", network=True)

    assert ["lo"] == without.split()
    assert ["lo", "tap0"] == with_it.split()


@pytest_twisted.ensureDeferred
async def test_small_dev(workspace: Workspace) -> None:
    """The usual nodes work, and the standard streams can be opened by path."""
    script = "echo out > /dev/stdout; echo err > /dev/stderr; cat /dev/null; true > /dev/full || echo full; ls /dev"
    async with opened(workspace) as sandbox:
        ended, said = await run(sandbox, script)

    assert ["out", "err"] == said.splitlines()[:2]
    assert ended.ok
    expected = {
        "fd",
        "full",
        "null",
        "ptmx",
        "pts",
        "random",
        "shm",
        "stderr",
        "stdin",
        "stdout",
        "tty",
        "urandom",
        "zero",
    }
    assert expected == set(said.splitlines()[2:])


@pytest_twisted.ensureDeferred
async def test_sys_is_read_only(workspace: Workspace) -> None:
    """Nothing of the kernel can be set through /sys."""
    async with opened(workspace) as sandbox:
        ended, said = await run(sandbox, "echo 1 > /sys/kernel/profiling")

    assert not ended.ok
    assert "Read-only file system" in said


@pytest_twisted.ensureDeferred
async def test_without_mounts_there_is_dev_alone(workspace: Workspace) -> None:
    """Scripts after the clean-up see neither /proc nor /sys."""
    async with opened(workspace) as sandbox:
        _, said = await run(sandbox, "ls /proc /sys; ls /dev/null", mounts=False)

    assert ["/proc:", "", "/sys:", "/dev/null"] == said.splitlines()


@pytest_twisted.ensureDeferred
async def test_bind_mounts_are_really_read_only(workspace: Workspace, tmp_path: Path) -> None:
    """A bind mount that is not writable refuses writing, to root too; a writable one does not."""
    shared, scratch = tmp_path / "shared", tmp_path / "scratch"
    for directory in (shared, scratch):
        directory.mkdir()
    (shared / "file").write_text("shared")
    binds = [Bind(shared, b"/mnt/shared"), Bind(scratch, b"/mnt/scratch", writable=True)]
    script = "cat /mnt/shared/file; echo; echo x > /mnt/scratch/x; echo x > /mnt/shared/file"
    async with opened(workspace) as sandbox:
        await sandbox.tree.make_mount_points([b"/mnt/shared", b"/mnt/scratch"])
        _, said = await run(sandbox, script, binds=binds)

    assert said.startswith("shared\n")
    assert "Read-only file system" in said
    assert ("shared", "x\n") == ((shared / "file").read_text(), (scratch / "x").read_text())


@pytest_twisted.ensureDeferred
async def test_what_is_mounted_below_a_bind_mount(workspace: Workspace, tmp_path: Path) -> None:
    """It is seen too, with the host's owners, and is as read-only; so are bind mounts within bind mounts."""
    shared, scratch = tmp_path / "shared", tmp_path / "scratch"
    for directory in (shared / "below", shared / "within", scratch):
        directory.mkdir(parents=True)
    mount(b"tmpfs", os.fsencode(shared / "below"), b"tmpfs")
    try:
        (shared / "below/file").write_text("deep")
        os.chown(shared / "below/file", 1234, 56)
        binds = [Bind(shared, b"/mnt"), Bind(scratch, b"/mnt/within", writable=True)]
        script = "cat /mnt/below/file; stat -c ' %u:%g' /mnt/below/file; echo x > /mnt/within/x; echo x > /mnt/below/y"
        async with opened(workspace) as sandbox:
            await sandbox.tree.make_mount_points([b"/mnt"])
            _, said = await run(sandbox, script, binds=binds)
        left = [path.name for path in (shared / "below").iterdir()]
    finally:
        unmount(os.fsencode(shared / "below"))

    assert said.startswith("deep 1234:56")
    assert "Read-only file system" in said
    assert (["file"], "x\n") == (left, (scratch / "x").read_text())


@pytest_twisted.ensureDeferred
async def test_a_bind_mount_behind_a_link_of_the_image(workspace: Workspace, tmp_path: Path) -> None:
    """It is where the link leads in the image, never where the host has such a path."""
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "file").write_text("shared")
    (workspace.lowers[0] / "lib").symlink_to("/usr/share")
    async with opened(workspace) as sandbox:
        made = await sandbox.tree.make_mount_points([b"/lib/modules"])
        _, said = await run(sandbox, "cat /usr/share/modules/file", binds=[Bind(shared, b"/lib/modules")])
        await sandbox.tree.remove_mount_points(made)
        left = await sandbox.tree.changed_paths()

    assert "shared" == said
    assert [] == [path for path in left if path.endswith(b"modules")]


@pytest_twisted.ensureDeferred
async def test_a_bind_mount_that_finds_no_directory(workspace: Workspace, tmp_path: Path) -> None:
    """A file of the image is in its way: the command says so, and is not run."""
    async with opened(workspace) as sandbox:
        ended, said = await run(sandbox, "echo run", binds=[Bind(tmp_path, b"/etc/release")])

    assert 125 == ended.code
    assert "sandbox: /etc/release: no directory of the image: a bind mount needs one" == said


@pytest_twisted.ensureDeferred
async def test_a_discarding_command_changes_nothing(workspace: Workspace) -> None:
    """What a test writes is forgotten, however thoroughly it writes."""
    async with opened(workspace) as sandbox:
        ended, _ = await run(sandbox, "rm -rf /etc /usr; echo x > /new; ls /etc", discard=True)
        changes = await sandbox.tree.scan()

    assert not ended.ok
    assert [b"/"] == [change.path for change in changes]


@pytest_twisted.ensureDeferred
async def test_no_mount_of_a_command_is_left_in_the_tree(workspace: Workspace) -> None:
    """Commands leave no trace of /proc, /dev or their own mounts in what is read of the tree."""
    async with opened(workspace) as sandbox:
        await run(sandbox, "true")
        paths = [change.path for change in await sandbox.tree.survey()]

    assert b"/dev" in paths
    assert not [path for path in paths if path.startswith((b"/dev/", b"/proc/", b"/sys/"))]


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    ("script", "end"),
    [("exit 7", "exit status 7"), ("kill -9 $$", "killed by SIGKILL"), ("no-such", "exit status 127")],
)
async def test_the_end_of_a_command_is_told(workspace: Workspace, script: str, end: str) -> None:
    """Its own exit status, or the signal that killed it."""
    async with opened(workspace) as sandbox:
        ended, _ = await run(sandbox, script)

    assert end == ended.describe()


@pytest_twisted.ensureDeferred
async def test_bootstrap_commands_see_the_host(tmp_path: Path) -> None:
    """They run in the tree's directory with the host's root, in namespaces of their own and within limits."""
    kinds = ("mnt", "pid", "ipc", "uts")
    links = " ".join(f"/proc/self/ns/{kind}" for kind in (*kinds, "user", "net"))
    script = (
        f"pwd; hostname; echo $$; ls /proc/self/fd | wc -l; cat /proc/self/cgroup | grep -c bootstrap; readlink {links}"
    )
    workspace = Workspace(tmp_path / "bootstrap")
    async with opened(workspace, Profile.BOOTSTRAP, Limits(memory=1 << 30, processes=100)) as sandbox:
        child_environment = {"PATH": os.defpath}
        tail = Tail()
        ended = await finish(
            sandbox.run(["sh", "-c", script], child_environment, output=tail, network=True), timeout=60
        )

    place, name, pid, descriptors, groups, *namespaces = tail.text().splitlines()
    assert ended.ok, tail.text()
    assert [str(workspace.upper), "build", "2", "4"] == [place, name, pid, descriptors]
    assert int(groups) >= 1
    own = [os.readlink(f"/proc/self/ns/{kind}") for kind in (*kinds, "user", "net")]
    assert [kind in kinds for kind in (*kinds, "user", "net")] == [
        one != other for one, other in zip(namespaces, own, strict=True)
    ]


@pytest_twisted.ensureDeferred
async def test_what_a_command_leaves_running_ends_with_it(workspace: Workspace) -> None:
    """A process in the background, in a session of its own, does not outlive its command."""
    async with opened(workspace) as sandbox:
        ended, _ = await run(sandbox, "sleep 1000 & sleep 1000 & true")
        left = [pid for pid in holders(workspace) if b"sleep" in Path(f"/proc/{pid}/cmdline").read_bytes()]

    assert ended.ok
    assert [] == left


@pytest_twisted.ensureDeferred
async def test_closing_ends_everything(workspace: Workspace) -> None:
    """A running command, the holder and every mount are gone when `close` returns."""
    sandbox = await Sandbox.open(reactor, workspace, Profile.MANIFEST, NO_LIMITS)
    child = sandbox.run(["sleep", "1000"], {"PATH": "/bin"}, network=False, output=print)
    await sandbox.close()
    await sandbox.close()

    assert "stopped: the build ended" == (await child.wait()).describe()
    assert [] == list(holders(workspace))


@pytest_twisted.ensureDeferred
async def test_a_killed_holder_takes_its_mounts_along(workspace: Workspace) -> None:
    """After kill -9 of the holder no mount is left, and the next operation says what happened."""
    sandbox = await Sandbox.open(reactor, workspace, Profile.MANIFEST, NO_LIMITS)
    for pid in holders(workspace):
        os.kill(pid, signal.SIGKILL)
        wait_until_gone(pid)
    with pytest.raises(BuildFailed, match="holder has ended"):
        await sandbox.tree.scan()
    await sandbox.close()

    assert [] == list(holders(workspace))


@pytest_twisted.ensureDeferred
async def test_a_tree_that_cannot_be_mounted(tmp_path: Path) -> None:
    """A layer that is not there is one sentence, and no process is left."""
    workspace = Workspace(tmp_path / "build", (tmp_path / "no-such-layer",))
    with pytest.raises(BuildFailed, match="No such file or directory"):
        await Sandbox.open(reactor, workspace, Profile.MANIFEST, NO_LIMITS)

    assert [] == list(holders(workspace))


DAEMON = """
import sys
from pathlib import Path
from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred
from imaginator.sandbox.limits import Limits
from imaginator.sandbox.sandbox import Profile, Sandbox, Workspace

async def main():
    workspace = Workspace(Path(sys.argv[1]), (Path(sys.argv[2]),))
    sandbox = await Sandbox.open(reactor, workspace, Profile.MANIFEST, Limits())
    script = ["sh", "-c", "echo ready; exec sleep 1000"]
    sandbox.run(script, {"PATH": "/bin"}, network=False, output=lambda data: print("ready", flush=True))

reactor.callWhenRunning(lambda: ensureDeferred(main()))
reactor.run()
"""


def test_a_killed_daemon_leaves_nothing(workspace: Workspace) -> None:
    """After kill -9 of the daemon its holder, its commands and their mounts are gone."""
    argv = [sys.executable, "-c", DAEMON, str(workspace.directory), str(workspace.lowers[0])]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as daemon:
        assert daemon.stdout is not None
        assert b"ready\n" == daemon.stdout.readline()
        running = list(holders(workspace))
        daemon.kill()

    assert len(running) >= 2
    for pid in running:
        wait_until_gone(pid)


@pytest_twisted.ensureDeferred
async def test_a_long_chain_of_layers_is_mounted(tmp_path: Path) -> None:
    """Sixty layers with awkward names fit into the mount's options."""
    layers = tuple(tmp_path / "layers" / f"with:colon,comma\\{number:024}" / "tree" for number in range(60))
    for number, layer in enumerate(layers):
        layer.mkdir(parents=True)
        (layer / f"{number:02}").touch()
    async with opened(Workspace(tmp_path / "build", layers)) as sandbox:
        paths = [change.path for change in await sandbox.tree.survey()]

    assert [b"/", *(b"/%02d" % number for number in range(60))] == paths


@pytest_twisted.ensureDeferred
async def test_a_tree_full_to_its_limit_is_named(tmp_path: Path) -> None:
    """Where the file system is full, the holder's sentence says so."""
    place = tmp_path / "full"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place], check=True)
    try:
        async with opened(Workspace(place / "build")) as sandbox:
            with pytest.raises(BuildFailed, match="No space left on device"):
                await sandbox.tree.write(b"/large", bytes(1 << 20))
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.mark.skipif("memory" not in available(), reason="this host offers no control groups to limit builds with")
@pytest_twisted.ensureDeferred
async def test_limits_hold(workspace: Workspace) -> None:
    """A fork bomb and a memory hog meet their ends; the groups are gone afterwards."""
    async with opened(workspace, limits=Limits(memory=64 << 20, processes=30)) as sandbox:
        bomb, said = await run(sandbox, "i=0; while [ $i -lt 60 ]; do sleep 5 & i=$((i+1)); done; echo all")
        hog, _ = await run(sandbox, "x=$(dd if=/dev/zero bs=1M count=200 | cat -v); echo ${#x}")

    assert "all" not in said
    assert not bomb.ok
    assert not hog.ok
    assert [] == [path for path in Path("/sys/fs/cgroup").glob("*/imaginator/build") if path.exists()]


@pytest_twisted.ensureDeferred
async def test_the_source_is_never_written(workspace: Workspace) -> None:
    """However a build writes, its source layer stays what it was."""
    before = walk(workspace.lowers[0])
    async with opened(workspace) as sandbox:
        await run(sandbox, "echo x >> /etc/passwd; rm -rf /usr; chmod 700 /bin; touch /root/x")

    assert before == walk(workspace.lowers[0])


@pytest_twisted.ensureDeferred
async def test_commands_that_end_together(workspace: Workspace) -> None:
    """The holder survives however many of its commands end while it hears of another one's end."""
    async with opened(workspace) as sandbox:
        for _ in range(10):
            ended = await gatherResults([ensureDeferred(run(sandbox, "true")) for _ in range(12)])
            assert all(end.ok for end, _ in ended)
        changes = await sandbox.tree.scan()

    assert [b"/"] == [change.path for change in changes]
