"""The kernel itself: its modules, programs, counters, keys, clock, name, log, swap and ports."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from pathlib import Path

from tests.escape.inside.probing import (
    PLAIN,
    Finding,
    Left,
    Reached,
    Surface,
    World,
    call,
    check,
    granted,
    libc,
    marked,
    no,
    probe,
)

_UNUSED_MODULE = "/lib/modules/nlmon.ko"


@probe("BPF")
def kernel_program(world: World) -> Finding:
    """Load a program into the kernel (BPF_PROG_LOAD)."""
    # mov r0, 0; exit
    code = ctypes.create_string_buffer(bytes.fromhex("b7000000000000009500000000000000"), 16)
    license_ = ctypes.create_string_buffer(b"GPL")
    socket_filter = 1
    attributes = struct.pack(
        "<IIQQIIQII40x", socket_filter, 2, ctypes.addressof(code), ctypes.addressof(license_), 0, 0, 0, 0, 0
    )
    os.close(call("bpf", 5, attributes, len(attributes)))
    return Reached("loaded a BPF program")


@probe("BPF")
def kernel_table(world: World) -> Finding:
    """Make a table for the kernel's programs (BPF_MAP_CREATE)."""
    attributes = struct.pack("<IIIII52x", 2, 4, 8, 1, 0)
    os.close(call("bpf", 0, attributes, len(attributes)))
    return Surface("made a BPF array")


@probe("BPF", PLAIN)
def filter_of_sockets(world: World) -> Finding:
    """Have the kernel compile a program for a socket of one's own (SO_ATTACH_FILTER)."""
    code = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0xFFFF), 8)
    with socket.socketpair()[0] as one:
        one.setsockopt(socket.SOL_SOCKET, 26, struct.pack("HxxxxxxQ", 1, ctypes.addressof(code)))
    return Surface("a classic BPF filter on a socket of its own")


@probe("perf")
def counters_of_the_machine(world: World) -> Finding:
    """Count and sample what every process of the host does (perf_event_open(2))."""
    return _count(-1, 0, "sampled every process of a processor")


@probe("perf")
def counters_of_oneself(world: World) -> Finding:
    """Open a performance counter of one's own process, as many attacks on the kernel do."""
    return Surface(_count(0, -1, "counted one's own process"))


def _count(process: int, processor: int, what: str) -> Finding:
    # struct perf_event_attr: type software, size, config cpu-clock; disabled
    attributes = struct.pack("<IIQQQQQ", 1, 112, 0, 0, 0, 0, 1).ljust(112, b"\0")
    os.close(call("perf_event_open", attributes, process, processor, -1, 0))
    return Reached(what)


@probe("userfaultfd")
def page_faults(world: World) -> Finding:
    """Handle page faults of one's own, to hold the kernel still at will (userfaultfd(2))."""
    os.close(call("userfaultfd", os.O_CLOEXEC))
    return Surface("a userfaultfd")


@probe("io_uring")
def rings(world: World) -> Finding:
    """Give the kernel calls to make past a filter (io_uring_setup(2))."""
    os.close(call("io_uring_setup", 1, ctypes.create_string_buffer(120)))
    return Surface("an io_uring")


@probe("io_uring")
def old_asynchronous_calls(world: World) -> Finding:
    """Give the kernel calls to make later (io_setup(2))."""
    context = ctypes.c_ulong(0)
    call("io_setup", 1, ctypes.byref(context))
    return Surface("a context of asynchronous calls")


@probe("kexec", machine=True)
def other_kernel(world: World) -> Finding:
    """Load another kernel (kexec_load(2))."""
    return granted("kexec_load", lambda: call("kexec_load", 0, 0, None, 0))


@probe("kexec", machine=True)
def other_kernel_by_file(world: World) -> Finding:
    """Load another kernel from files (kexec_file_load(2))."""
    return granted("kexec_file_load", lambda: call("kexec_file_load", -1, -1, 1, b"", 0))


@probe("modules", machine=True)
def module_by_file(world: World) -> Finding:
    """Load a module into the kernel (finit_module(2))."""
    if not world.expendable:
        return granted("finit_module", lambda: call("finit_module", -1, b"", 0))
    with open(_UNUSED_MODULE, "rb") as module:
        call("finit_module", module.fileno(), b"", 0)
    return Reached("loaded nlmon")


@probe("modules", machine=True)
def module_by_memory(world: World) -> Finding:
    """Load a module into the kernel (init_module(2))."""
    return granted("init_module", lambda: call("init_module", b"no module", 9, b""))


@probe("modules", machine=True)
def module_taken_away(world: World) -> Finding:
    """Take a module out of the kernel (delete_module(2))."""
    return granted("delete_module", lambda: call("delete_module", b"no_such_module", os.O_NONBLOCK))


@probe("modules", machine=True)
def module_by_need(world: World) -> Finding:
    """Have the kernel load a module by asking for a socket of a rare kind."""
    for family in (32, 33, 38, 30, 21):  # AF_RXRPC's neighbours: old code that few hosts have loaded
        try:
            socket.socket(family, socket.SOCK_SEQPACKET if family == 38 else socket.SOCK_DGRAM).close()
        except OSError as error:
            refusal = error
            continue
        return Surface(f"a socket of family {family}")
    raise no(refusal.errno or errno.EPERM, "socket of a rare family")


@probe("kexec", machine=True)
def ports(world: World) -> Finding:
    """Reach the machine's ports (iopl(2))."""
    check(libc.iopl(3), "iopl")
    return Reached("every port of the machine")


@probe("kexec", machine=True)
def some_ports(world: World) -> Finding:
    """Reach the machine's ports (ioperm(2))."""
    check(libc.ioperm(ctypes.c_ulong(0x80), ctypes.c_ulong(1), 1), "ioperm")
    return Reached("port 0x80")


@probe("kexec")
def reboot(world: World) -> Finding:
    """Reboot the machine (reboot(2))."""
    return granted("reboot", lambda: call("reboot", 0, 0, 0, None))


@probe("clock")
def clock_bent(world: World) -> Finding:
    """Change the pace of the host's clock (adjtimex(2))."""
    # ADJ_TICK with a tick that no clock may have: refused for what it asks only after who asks was looked at.
    wanted = struct.pack("<I4x", 0x4000).ljust(208, b"\0")
    return granted("adjtimex", lambda: libc.adjtimex(ctypes.create_string_buffer(wanted, 208)))


@probe("clock", machine=True)
def clock_set(world: World) -> Finding:
    """Set the host's clock (clock_settime(2))."""
    if not world.expendable:
        wanted = struct.pack("<I4x", 0x4000).ljust(208, b"\0")
        return granted("clock_adjtime", lambda: libc.clock_adjtime(0, ctypes.create_string_buffer(wanted, 208)))
    check(libc.clock_settime(0, struct.pack("qq", 1_000_000_000, 0)), "clock_settime")
    return Reached("it is 2001")


@probe("clock", machine=True)
def hardware_clock(world: World) -> Finding:
    """Open the hardware clock by a node of it."""
    numbers = Path("/sys/class/rtc/rtc0/dev")
    major, minor = (int(word) for word in numbers.read_text().split(":")) if numbers.exists() else (253, 0)
    os.mknod("/tmp/clock", 0o20600, os.makedev(major, minor))
    try:
        os.close(os.open("/tmp/clock", os.O_RDONLY))
    finally:
        os.unlink("/tmp/clock")
    return Reached("the hardware clock opened")


@probe("clock")
def alarm_of_the_machine(world: World) -> Finding:
    """Wake the machine from sleep by a timer (CLOCK_REALTIME_ALARM)."""
    timer = check(libc.timerfd_create(8, 0), "timerfd_create")
    os.close(timer)
    return Surface("a timer that wakes the machine")


@probe("host name", PLAIN)
def host_named(world: World) -> Finding:
    """Change the host's name (sethostname(2))."""
    check(libc.sethostname(b"escaped", ctypes.c_size_t(7)), "sethostname")
    return Left("named it escaped")


@probe("host name", PLAIN)
def domain_named(world: World) -> Finding:
    """Change the host's domain through /proc/sys."""
    Path("/proc/sys/kernel/domainname").write_text("escaped")
    return Left("named its domain escaped")


@probe("swap")
def swap(world: World) -> Finding:
    """Give the host a file of the tree to swap to (swapon(2))."""
    return granted("swapon", lambda: libc.swapon(b"/no/such/file", 0))


@probe("swap")
def swap_taken_away(world: World) -> Finding:
    """Take the host's swap away (swapoff(2))."""
    return granted("swapoff", lambda: libc.swapoff(b"/no/such/file"))


@probe("accounting")
def accounting(world: World) -> Finding:
    """Have the host write what its processes do to a file of the tree (acct(2))."""
    return granted("acct", lambda: libc.acct(b"/no/such/file"))


@probe("accounting")
def quotas(world: World) -> Finding:
    """Change the quotas of the host's disk (quotactl(2))."""
    os.mknod("/tmp/quota", 0o60600, os.makedev(*world.disk))
    try:
        # Q_SETQUOTA of root's: a disk without quotas says so (ESRCH) to whoever may ask.
        return granted(
            "quotactl", lambda: libc.quotactl(0x800008 << 8, b"/tmp/quota", 0, ctypes.create_string_buffer(72))
        )
    finally:
        os.unlink("/tmp/quota")


@probe("kernel settings")
def kernel_log(world: World) -> Finding:
    """Read the host's kernel log (syslog(2))."""
    buffer = ctypes.create_string_buffer(4096)
    return Reached(f"read {check(libc.klogctl(3, buffer, 4096), 'syslog')} bytes of the kernel's log")


@probe("kernel settings")
def kernel_log_levels(world: World) -> Finding:
    """Choose what the host's console shows (syslog(2))."""
    return granted("syslog", lambda: libc.klogctl(8, None, 99))


@probe("kernel settings")
def kernel_addresses(world: World) -> Finding:
    """Learn the kernel's addresses from /proc/kallsyms."""
    with open("/proc/kallsyms") as symbols:
        addresses = [line.split()[0] for line in symbols]
    if any(int(address, 16) for address in addresses):
        return Surface(f"{len(addresses)} addresses of the kernel")
    raise no(errno.EACCES, "/proc/kallsyms has no addresses")


@probe("/proc of others and of the host", machine=True)
def timers_of_the_machine(world: World) -> Finding:
    """Learn of the host's timers from /proc/timer_list."""
    with open("/proc/timer_list") as timers:
        if (text := timers.read()).strip():
            return Surface(f"{len(text)} bytes of timers")
    raise no(errno.ENODATA, "/proc/timer_list is empty")


@probe("keyrings", PLAIN)
def key_read(world: World) -> Finding:
    """Read a key of the host by its number (keyctl(2))."""
    buffer = ctypes.create_string_buffer(64)
    call("keyctl", 11, world.key, buffer, 64, 0)
    return marked(buffer.raw, "a key")


@probe("keyrings", PLAIN)
def key_searched(world: World) -> Finding:
    """Find a key of the host in the keyring that the session was given."""
    key = call("keyctl", 10, -3, b"user", b"escape-bait", 0)
    buffer = ctypes.create_string_buffer(64)
    call("keyctl", 11, key, buffer, 64, 0)
    return marked(buffer.raw, "a key")


@probe("keyrings", PLAIN)
def keys_listed(world: World) -> Finding:
    """Find a key of the host in /proc/keys."""
    with open("/proc/keys") as keys:
        if f"{world.key:08x}" in keys.read():
            return Reached("/proc/keys lists the host's key")
    raise no(errno.ENOENT, "/proc/keys")


@probe("keyrings")
def key_added(world: World) -> Finding:
    """Add a key to the kernel's memory (add_key(2)), which many attacks on it use."""
    key = call("add_key", b"user", b"escape", b"x", 1, -2)
    call("keyctl", 3, key)
    return Surface("a key added")


@probe("keyrings", machine=True)
def key_requested(world: World) -> Finding:
    """Have the host run a program that makes a key (request_key(2))."""
    try:
        call("request_key", b"user", b"escape-unknown", b"x", -2)
    except OSError as error:
        if error.errno in (errno.ENOKEY, errno.EACCES, errno.ENOENT):
            return Surface("the kernel looked for /sbin/request-key")
        raise
    return Surface("a key was made")


@probe("kernel settings")
def old_personality(world: World) -> Finding:
    """Make every page that can be read executable, low ones included (personality(2))."""
    check(libc.personality(ctypes.c_ulong(0x0400000 | 0x0100000)), "personality")
    return Surface("READ_IMPLIES_EXEC and MMAP_PAGE_ZERO")


@probe("kernel settings", PLAIN)
def watched_file_system(world: World) -> Finding:
    """Watch every file of a file system (fanotify_init(2))."""
    os.close(check(libc.fanotify_init(0, 0), "fanotify_init"))
    return Reached("a watch of whole file systems")


@probe("terminals", machine=True)
def terminal_hung_up(world: World) -> Finding:
    """Hang up the terminal of whoever started the daemon (vhangup(2))."""
    check(libc.vhangup(), "vhangup")
    return Reached("hung up")
