"""A Debian 12 that the package is installed in: a tree of its own that processes live in as if it were a host.

They have their own ids, mounts, network (a loopback alone) and host name, and end with it.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Self

from tests.support.base_tree import base_tar, unpacked

ROOT = Path(__file__).parents[2]
PACKAGES = (
    *("busybox-static", "ca-certificates", "dbus", "git", "iproute2", "libpam-systemd", "libseccomp2", "mmdebstrap"),
    *("nftables", "procps", "python3", "slirp4netns", "systemd", "systemd-sysv"),
)
PATIENCE = 120.0
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
}

# The daemons of two hosts do not know each other's processes, and would take each other's control groups for leftovers.
APART = """
for controller in cpu memory pids systemd unified; do
    [ -d "/sys/fs/cgroup/$controller" ] || continue
    folder=/sys/fs/cgroup/$controller/imaginator-host-$$
    mkdir "$folder" && echo $$ > "$folder/cgroup.procs"
done
exec "$@"
"""

_BOOT = """
set -e
mount --make-rprivate /
mount --bind "$1" "$1"
cd "$1"
mount -t proc proc proc
mount -t sysfs sys sys
mount -t tmpfs cgroup sys/fs/cgroup
for controller in cpu memory pids; do
    mkdir sys/fs/cgroup/$controller
    mount -t cgroup -o $controller cgroup sys/fs/cgroup/$controller || rmdir sys/fs/cgroup/$controller
done
mount -t tmpfs -o mode=0755 run run
mount --rbind /dev dev
ip link set lo up
pivot_root . mnt
umount -l mnt
exec python3 -c '
import os, struct, time
# What sysvinit says of itself (utmp(5)): run level 2, which invoke-rc.d asks for.
record = struct.pack("hi32s4s32s", 1, ord("2"), b"~", b"~~", b"runlevel")
open("/run/utmp", "wb").write(record.ljust(384, bytes(1)))
print("up", flush=True)
while True:
    try:
        os.wait()
    except ChildProcessError:
        time.sleep(0.1)
'
"""

# What nspawn keeps from its containers and a host's daemon has: control groups, the whole of /proc, loop devices.
_LEND = """
umount /proc/kmsg /proc/sys/kernel/random/boot_id
for controller in cpu memory pids; do mount -o remount,bind,rw /sys/fs/cgroup/$controller; done
for number in $(seq 0 63); do [ -e /dev/loop$number ] || mknod /dev/loop$number b 7 $number; done
ip link set lo up
"""


def built_package(folder: Path) -> Path:
    """The .deb of this checkout, made in ``folder``."""
    run = subprocess.run([ROOT / "deb" / "build", folder], check=True, capture_output=True, text=True)
    return Path(run.stdout.splitlines()[-1])


def host_tree(folder: Path) -> Path:
    """The tree of a Debian that has what the package depends on, in a new folder ``tree``."""
    return unpacked(base_tar(folder, PACKAGES), folder / "tree")


class Failed(Exception):
    """A command failed; the words are all that it printed."""


class Host:
    """A host whose disk is ``tree``, without services: its first process only takes in orphans."""

    def __init__(self, tree: Path) -> None:
        self.tree = tree
        self._outside: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        """Boot."""
        isolated = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--net", "--ipc", "--uts", "--cgroup"]
        argv = ["sh", "-c", APART, "apart", *isolated, "sh", "-c", _BOOT, "boot", str(self.tree)]
        self._outside = subprocess.Popen(argv, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
        assert self._outside.stdout is not None
        assert self._outside.stdout.readline() == "up\n"
        return self

    def __exit__(self, *_: object) -> None:
        """Switch it off: every process ends."""
        assert self._outside is not None
        self._outside.kill()
        self._outside.communicate(timeout=PATIENCE)
        forget_groups(self.outside)

    @property
    def outside(self) -> int:
        """The process that the host's first one is a child of."""
        assert self._outside is not None
        return self._outside.pid

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run a program in it."""
        first = Path(f"/proc/{self.outside}/task/{self.outside}/children").read_text().split()[0]
        enter = ["nsenter", f"--target={first}", "--mount", "--pid", "--net", "--ipc", "--uts", "--cgroup"]
        return subprocess.run(
            [*enter, *argv], env=ENVIRONMENT, capture_output=True, text=True, timeout=PATIENCE, check=False
        )

    def sh(self, script: str) -> str:
        """What a shell's script prints; raises `Failed` where it fails."""
        ended = self.run("sh", "-c", script)
        if ended.returncode:
            raise Failed(f"status {ended.returncode}: {ended.stdout}{ended.stderr}")
        return ended.stdout.strip()

    def page(self, path: str = "healthz") -> str:
        """What the daemon answers; raises `Failed` where it does not."""
        get = (
            f"import urllib.request as r; print(r.urlopen('http://127.0.0.1:6975/{path}', timeout=30).read().decode())"
        )
        return self.sh(f'python3 -c "{get}"')

    def answers(self) -> bool:
        """Whether the daemon does."""
        try:
            return self.page() == "ok"
        except Failed:
            return False

    def processes(self) -> list[str]:
        """The command lines of all processes but the first and the one that asks."""
        words = [line.split(maxsplit=1) for line in self.sh("exec ps -ww -e -o pid=,args=").splitlines()]
        return [line for pid, line in words if pid != "1" and not line.startswith("ps -ww")]


class SystemdHost(Host):
    """The same with systemd as its first process, which starts what it finds.

    It is a container: the control groups of the host it is on are lent to it, and no device is refused to it.
    """

    def __enter__(self) -> Self:
        """Boot, and wait until systemd answers."""
        argv = [
            "sh",
            "-c",
            APART,
            "apart",
            "systemd-nspawn",
            "--quiet",
            "--directory",
            str(self.tree),
            "--boot",
            "--register=no",
            "--keep-unit",
        ]
        argv += ["--private-network", "--capability=all", "--system-call-filter=@known", "--console=pipe"]
        argv += ["--bind=/dev/loop-control", "--bind=/dev/net/tun"]
        environment = {**ENVIRONMENT, "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "yes"}
        with self._console.open("wb") as console:
            self._outside = subprocess.Popen(
                argv, env=environment, stdin=subprocess.DEVNULL, stdout=console, stderr=console, text=True
            )
        try:
            until(self._is_up)
            self.sh(_LEND)
        except BaseException:
            self.__exit__()
            raise
        return self

    @property
    def _console(self) -> Path:
        """What systemd-nspawn and what it boots have said."""
        return self.tree.with_name("console")

    def __exit__(self, *_: object) -> None:
        """Shut it down, as nspawn does when it is told to end."""
        assert self._outside is not None
        self._outside.terminate()
        try:
            self._outside.wait(PATIENCE)
        finally:
            self._outside.kill()
            self._outside.wait(PATIENCE)
            forget_groups(self.outside)

    def _is_up(self) -> bool:
        assert self._outside is not None
        assert self._outside.poll() is None, f"systemd-nspawn has ended: {self._console.read_text(errors='replace')}"
        try:
            return self.run("systemctl", "is-system-running").stdout.strip() in ("running", "degraded")
        except IndexError:
            return False


def forget_groups(pid: int) -> None:
    """Remove the control groups of a process that `APART` has set apart, and of all that it started."""
    for group in Path("/sys/fs/cgroup").glob(f"*/imaginator-host-{pid}"):
        # What was killed takes a moment to leave.
        until(partial(_removed, group))


def _removed(group: Path) -> bool:
    """Whether a control group is gone, with those below it."""
    folders = sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True)
    try:
        for folder in (*folders, group):
            folder.rmdir()
    except OSError:
        return False
    return True


def until(condition: Callable[[], object], patience: float = PATIENCE) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)
