"""Commands in a tree without a sandbox: as the host's root in a chroot with processes and mounts of its own.

This is the yardstick. What would reach beyond the tree is held back by other means, none of which a package's script
is concerned with: the kernel's settings are read-only, and the capabilities that set the clock, load modules or reboot
are dropped. The host name is the sandbox's.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

_SCRIPT = """
set -eu
cd "$1"; debs=$2; durable=$3; shift 3
options=lowerdir=base,upperdir=upper,workdir=work,index=on,metacopy=off,redirect_dir=off
mount -t overlay overlay -o "$options$durable" merged
cd merged
mount -t proc proc proc
for path in proc/sys $(ls -d proc/sysrq-trigger proc/irq proc/bus 2>&-)
do
    mount --bind $path $path
    mount -o remount,bind,ro $path
done
mount -t sysfs -o ro sysfs sys
mount -t tmpfs -o mode=0755 dev dev
for node in null:3 zero:5 full:7 random:8 urandom:9; do mknod -m 666 dev/${node%:*} c 1 ${node#*:}; done
mknod -m 666 dev/tty c 5 0
ln -s /proc/self/fd dev/fd; ln -s fd/0 dev/stdin; ln -s fd/1 dev/stdout; ln -s fd/2 dev/stderr; ln -s pts/ptmx dev/ptmx
mkdir dev/pts; mkdir -m 1777 dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5 devpts dev/pts
mount -t tmpfs -o mode=1777 shm dev/shm
mount --bind "$debs" mnt
hostname build
test -z "$durable" || ip link set lo up
setpriv --bounding-set -sys_time,-sys_module,-sys_boot,-sys_rawio --inh-caps -all chroot . "$@"
"""


def run(
    base: Path, build: Path, debs: Path, script: str, environment: Mapping[str, str], network: bool = False
) -> None:
    """Run a shell script in ``base``, its changes in ``build/upper``, with ``debs`` at ``/mnt``.

    Raises RuntimeError with the script's last words where it fails.
    """
    for name in ("upper", "work", "merged"):
        (build / name).mkdir(parents=True, exist_ok=True)
    (build / "upper").chmod(0o755)
    if not (build / "base").is_symlink():
        (build / "base").symlink_to(base)
    variables = (f"{name}={value}" for name, value in environment.items())
    inside = ["/usr/bin/env", "-i", *variables, "/bin/sh", "-c", script]
    command = ["sh", "-c", _SCRIPT, "sh", str(build), str(debs), "" if network else ",volatile", *inside]
    namespaces = ["--mount", "--pid", "--uts", "--ipc", *([] if network else ["--net"])]
    argv = ["unshare", *namespaces, "--fork", "--kill-child", *command]
    ended = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if ended.returncode:
        raise RuntimeError(ended.stdout.decode(errors="replace")[-3000:])
