"""A throw-away machine with Debian's own kernel, for what the host's kernel lacks and for what must not touch the host.

It boots in seconds, and is emulated where the processor cannot run it (a script then takes some twenty times as long).
Its disk holds a tree of the tests and is thrown away after every run; it has no network. Control groups are version 2
alone, at ``/sys/fs/cgroup``::

    machine = VirtualMachine(debian_kernel(), base_tar(scratch), scratch)
    status, output = machine.run("cat /sys/fs/cgroup/cgroup.controllers", files=Path("what/the/script/needs"))
    status, output = machine.run_booted("systemctl status", files)  # with the tree's systemd as process 1

The kernel is that of the package linux-image-amd64, unpacked into the user's cache folder and never installed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from tests.support.base_tree import cache_folder, unpacked

EMULATOR = "qemu-system-x86_64"
PACKAGE = "linux-image-amd64"
LOADED = (
    *("virtio_pci", "virtio_blk", "crc32c_generic", "ext4", "overlay", "loop", "tun", "dummy", "binfmt_misc", "fuse"),
    *("nf_tables", "nft_reject_inet", "nft_ct", "nft_limit", "algif_hash"),
)
"""The modules that every machine has; what they need comes with them."""

LYING_BY = ("nlmon",)
"""Modules that lie on the machine's disk, in `/lib/modules`, and are not loaded."""

_DEPENDENCIES = re.compile(rb"\0depends=([^\0]*)\0")
_END = re.compile(r"^exit status (\d+)$", re.MULTILINE)

# What the kernel starts first; `exec` makes the second part process 1 of the tree.
_INIT = """#!/bin/sh
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev
for module in $(cat /order); do insmod "/lib/modules/$module" || echo "no $module"; done
mount -t ext4 /dev/vda /root
mkdir -p /root/payload /root/lib/modules
tar -x -f /dev/vdb -C /root/payload
cp /lib/modules/* /root/lib/modules
cp /bin/busybox /root/payload/busybox
mount --move /dev /root/dev
exec switch_root /root /payload/.start
"""

_START = """#!/payload/busybox sh
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t proc -o nosuid,nodev,noexec proc /proc
mount -t sysfs -o nosuid,nodev,noexec sys /sys
mount -t cgroup2 -o nosuid,nodev,noexec cgroup /sys/fs/cgroup
mkdir -p /dev/pts /dev/shm
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs -o nosuid,nodev tmpfs /dev/shm
ln -sf /proc/self/fd /dev/fd
ln -sf fd/0 /dev/stdin; ln -sf fd/1 /dev/stdout; ln -sf fd/2 /dev/stderr
/payload/busybox ip link set lo up
cd /payload
if [ -e .unit ]; then
    units=/etc/systemd/system
    # No udev tells systemd of the console, for which it would wait.
    ln -s /dev/null $units/serial-getty@ttyS0.service
    mkdir -p $units/multi-user.target.wants
    cp .unit $units/script.service && ln -s ../script.service $units/multi-user.target.wants && exec /sbin/init
fi
. ./.ending
"""

_ENDING = """
/bin/sh ./.script > /dev/ttyS1 2>&1 < /dev/null
echo "
exit status $?" > /dev/ttyS1
/payload/busybox reboot -f
"""

_UNIT = """
[Unit]
Description=The script of the tests
[Service]
Type=idle
WorkingDirectory=/payload
Environment=HOME=/root
ExecStart=/bin/sh ./.ending
"""


class NoMachine(Exception):
    """No machine can be had here; the words say what is missing."""


class Kernel(NamedTuple):
    """A kernel's image and the modules of a machine, in the order in which they load; then those that lie by."""

    image: Path
    loaded: tuple[Path, ...]
    lying_by: tuple[Path, ...]


def debian_kernel() -> Kernel:
    """The kernel of the newest package that apt knows, fetched if the cache lacks it; raises `NoMachine`."""
    if os.uname().machine != "x86_64" or not shutil.which(EMULATOR):
        raise NoMachine(f"no {EMULATOR} here")
    depends = _output("apt-cache", "depends", "--important", PACKAGE)
    package = next((word for word in depends.split() if word.startswith("linux-image-6")), None)
    if package is None:
        raise NoMachine(f"apt knows no {PACKAGE}")
    folder = cache_folder() / package
    if not folder.exists():
        _fetch(package, folder)
    release = package.removeprefix("linux-image-")
    files = {path.stem: path for path in (folder / "lib/modules" / release / "kernel").rglob("*.ko")}
    loaded = tuple(dict.fromkeys(path for name in LOADED for path in _with_needs(name, files)))
    return Kernel(folder / f"boot/vmlinuz-{release}", loaded, tuple(files[name] for name in LYING_BY))


def _fetch(package: str, folder: Path) -> None:
    """Unpack a package's boot image and modules into ``folder``, which appears whole or not at all."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".kernel-") as name:
        scratch = Path(name)
        scratch.chmod(0o755)
        try:
            subprocess.run(["apt-get", "download", "-q", package], cwd=scratch, check=True, capture_output=True)
        except subprocess.CalledProcessError as error:
            raise NoMachine(f"apt cannot fetch {package}: {error.stderr.decode()[-500:]}") from error
        (archive,) = scratch.glob("*.deb")
        subprocess.run(["dpkg-deb", "--extract", archive, scratch / "unpacked"], check=True)
        (scratch / "unpacked").rename(folder)


def _with_needs(name: str, files: dict[str, Path]) -> Iterator[Path]:
    """A module after all that it needs; one that is built into the kernel has no file."""
    path = files.get(name)
    if path is None:
        return
    found = _DEPENDENCIES.search(path.read_bytes())
    for needed in found[1].decode().split(",") if found else ():
        yield from _with_needs(needed, files)
    yield path


class VirtualMachine:
    """Runs scripts, each on a machine that is booted for it and gone afterwards."""

    def __init__(self, kernel: Kernel, tree: Path, scratch: Path, memory: int = 2048, processors: int = 2) -> None:
        """``tree`` is a tar file of a system with a shell; ``memory`` is in MiB. Makes the disk in ``scratch``."""
        self._kernel = kernel
        self._scratch = scratch
        self._size = ("-m", str(memory), "-smp", str(processors))
        self._disk = _disk(tree, scratch)
        self._start = _first_files(kernel, scratch)

    def run(self, script: str, files: Path | None = None, timeout: float = 120) -> tuple[int, str]:
        """The exit status of a shell script and what it said; ``files`` are in its directory.

        Raises `NoMachine` with the end of the console where the machine stopped before the script did.
        """
        return self._run({".script": script}, files, timeout)

    def run_booted(self, script: str, files: Path | None = None, timeout: float = 120) -> tuple[int, str]:
        """The same as a service of the tree's systemd, the last that is started."""
        return self._run({".script": script, ".unit": _UNIT}, files, timeout)

    def _run(self, texts: dict[str, str], files: Path | None, timeout: float) -> tuple[int, str]:
        payload, console = self._scratch / "payload.tar", self._scratch / "console"
        _pack(payload, {**texts, ".start": _START, ".ending": _ENDING}, files)
        console.touch()
        argv = [*self._command(), "-drive", f"file={payload},format=raw,if=virtio,readonly=on"]
        argv += ["-serial", f"file:{console}", "-serial", "stdio"]
        try:
            ended = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, check=False)
            said, words = ended.stdout, ended.stderr.decode()
        except subprocess.TimeoutExpired as error:
            said, words = error.stdout or b"", f"not done after {timeout} s\n"
        output = said.decode(errors="replace").replace("\r", "")
        found = list(_END.finditer(output))
        if not found:
            seen = words + console.read_text(errors="replace")[-2000:]
            raise NoMachine(f"the machine stopped before its script did: {output[-1000:]}\n{seen}")
        return int(found[-1][1]), output[: found[-1].start()].removesuffix("\n")

    def _command(self) -> list[str]:
        return [
            *(EMULATOR, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", *self._size),
            *("-machine", f"q35,accel={accelerator()}", "-cpu", "max,-arch-capabilities"),
            *("-kernel", str(self._kernel.image), "-initrd", str(self._start)),
            *("-append", "console=ttyS0 panic=-1 quiet no_timer_check syscall.x32=y"),
            *("-drive", f"file={self._disk},format=raw,if=virtio,snapshot=on"),
        ]


def accelerator() -> str:
    """`kvm` where the processor has it: a `/dev/kvm` without its extensions hangs in a kernel's first instructions."""
    flags = Path("/proc/cpuinfo").read_text().split()
    return "kvm" if os.access("/dev/kvm", os.R_OK | os.W_OK) and {"vmx", "svm"} & set(flags) else "tcg"


def _disk(tree: Path, scratch: Path) -> Path:
    """An ext4 image of the tree, with 4 GiB to write to."""
    disk, folder = scratch / "disk", unpacked(tree, scratch / "tree")
    make = ["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-d", str(folder), str(disk), "4G"]
    subprocess.run(make, check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(folder)
    return disk


def _first_files(kernel: Kernel, scratch: Path) -> Path:
    """The kernel's first root: busybox, modules and what to do with them."""
    root, archive = scratch / "initramfs", scratch / "initramfs.cpio"
    for folder in ("bin", "dev", "lib/modules", "root"):
        (root / folder).mkdir(parents=True)
    shutil.copy(shutil.which("busybox") or "/bin/busybox", root / "bin/busybox")
    (root / "bin/sh").symlink_to("busybox")
    for path in (*kernel.loaded, *kernel.lying_by):
        shutil.copy(path, root / "lib/modules")
    (root / "order").write_text("".join(f"{path.name}\n" for path in kernel.loaded))
    (root / "init").write_text(_INIT)
    (root / "init").chmod(0o755)
    names = "\0".join(str(path.relative_to(root)) for path in root.rglob("*"))
    with archive.open("wb") as output:
        command = ["busybox", "cpio", "-0", "-o", "-H", "newc"]
        subprocess.run(command, cwd=root, input=names.encode(), stdout=output, stderr=subprocess.DEVNULL, check=True)
    shutil.rmtree(root)
    return archive


def _pack(payload: Path, texts: dict[str, str], files: Path | None) -> None:
    with tarfile.open(payload, "w") as archive:
        if files is not None:
            archive.add(files, ".")
        for name, text in texts.items():
            member = tarfile.TarInfo(name)
            member.mode, member.size = 0o755, len(text.encode())
            archive.addfile(member, BytesIO(text.encode()))


def _output(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout
