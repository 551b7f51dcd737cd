"""Other processes: seen, read, written, signalled, traced, outlived; and what was inherited from them."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import signal
import stat
import termios
import time
from pathlib import Path

from tests.escape.inside.probing import (
    MARK,
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
    libc,
    marked,
    no,
    open_to_write,
    others,
    probe,
)

PTRACE_ATTACH, PTRACE_DETACH, PTRACE_SEIZE = 16, 17, 0x4206


class _Piece(ctypes.Structure):
    """struct iovec."""

    _fields_ = [("start", ctypes.c_void_p), ("size", ctypes.c_size_t)]


@probe("/proc of others and of the host", PLAIN)
def processes_listed(world: World) -> Finding:
    """Find a process of the host in /proc."""
    for process in others():
        try:
            line = Path(f"/proc/{process}/cmdline").read_bytes()
        except OSError:
            continue
        if MARK in line:
            return marked(line, f"process {process}")
    raise no(errno.ENOENT, "/proc shows no process of the host")


@probe("/proc of others and of the host")
def root_of_process(world: World) -> Finding:
    """Read a file of the host through /proc/PID/root."""
    return first_that_works(others(), lambda process: _read(f"/proc/{process}/root{world.secret}"))


@probe("/proc of others and of the host", PLAIN)
def directory_of_process(world: World) -> Finding:
    """Read a file of the host through /proc/PID/cwd."""
    return first_that_works(others(), lambda process: _read(f"/proc/{process}/cwd/{'../' * 32}{world.secret}"))


@probe("/proc of others and of the host", PLAIN)
def file_of_process(world: World) -> Finding:
    """Read what a process of the host has open through /proc/PID/fd."""
    return first_that_works(others(), lambda process: _read(f"/proc/{process}/fd/{world.descriptor}"))


def _read(path: str) -> Finding:
    with open(path, "rb") as file:
        return marked(file.read(1 << 16), path)


@probe("/proc of others and of the host", PLAIN)
def task_of_process(world: World) -> Finding:
    """Read a file of the host through /proc/PID/task/PID/root, by the number that the process has there."""
    return _read(f"/proc/{world.victim}/task/{world.victim}/root{world.secret}")


@probe("/proc of others and of the host")
def program_of_the_host(world: World) -> Finding:
    """Open a program of the host for writing through /proc/PID/exe (CVE-2019-5736)."""

    def look(process: int) -> Finding:
        path = f"/proc/{process}/exe"
        status = os.stat(path)
        if (status.st_dev, status.st_ino) != tuple(world.program):
            raise no(errno.ENOENT, f"{path} is not the host's")
        try:
            os.close(os.open(path, os.O_WRONLY))
        except OSError as error:
            if error.errno != errno.ETXTBSY:  # it runs: whoever waits until it ends, as in the CVE, may write
                raise
        return Reached(f"{path} is the host's Python, and may be written to once it has ended")

    return first_that_works(others(), look)


@probe("/proc of others and of the host")
def program_of_the_host_read(world: World) -> Finding:
    """Read a program of the host through /proc/PID/exe."""

    def look(process: int) -> Finding:
        with open(f"/proc/{process}/exe", "rb") as file:
            status = os.fstat(file.fileno())
            if (status.st_dev, status.st_ino) != tuple(world.program):
                raise no(errno.ENOENT, "not the host's")
            return Surface(f"the host's Python, {len(file.read(1 << 16))} bytes read, as {file.name}")

    return first_that_works(others(), look)


@probe("/proc of others and of the host")
def parts_of_process(world: World) -> Finding:
    """Follow /proc/PID/map_files to the host's libraries."""

    def look(path: Path) -> Finding:
        os.close(os.open(path, os.O_RDONLY))
        return Reached(f"{path} opened")

    found = [path for process in others() for path in Path(f"/proc/{process}/map_files").glob("*")]
    return first_that_works(found, look)


@probe("/proc of others and of the host")
def descriptors_of_init(world: World) -> Finding:
    """Take files and directories of the host from process 1 of the sandbox, which was the host's once."""

    def look(path: str) -> Finding:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode) or stat.S_ISREG(status.st_mode) or stat.S_ISBLK(status.st_mode):
            return Reached(f"{path} is {os.readlink(path)}")
        raise no(errno.ENOENT, f"{path} is a {os.readlink(path)}")

    return first_that_works((f"/proc/1/fd/{name}" for name in os.listdir("/proc/1/fd")), look)


@probe("memory of others", machine=True)
def kernel_core(world: World) -> Finding:
    """Read the kernel's memory through /proc/kcore."""
    if not os.path.exists("/proc/kcore"):
        raise Lacking("no /proc/kcore")
    with open("/proc/kcore", "rb", buffering=0) as core:
        if core.read(4) == b"\x7fELF":
            return Reached("read the kernel's memory")
    raise no(errno.ENODATA, "/proc/kcore is empty")


@probe("memory of others", PLAIN)
def memory_file(world: World) -> Finding:
    """Read the memory of a process of the host through /proc/PID/mem."""

    def look(process: int) -> Finding:
        with open(f"/proc/{process}/mem", "rb", buffering=0) as memory:
            return marked(os.pread(memory.fileno(), 64, world.address), f"the memory of {process}")

    return first_that_works(others(), look)


@probe("memory of others", PLAIN)
def memory_written(world: World) -> Finding:
    """Write to the memory of a process of the host by its number."""
    with open(f"/proc/{world.victim}/mem", "r+b", buffering=0) as memory:
        data = os.pread(memory.fileno(), 64, world.address)
        found = marked(data, "the victim's memory")
        os.pwrite(memory.fileno(), data, world.address)
    return found


@probe("memory of others", PLAIN)
def memory_call(world: World) -> Finding:
    """Read the memory of a process of the host by process_vm_readv(2) and its number."""
    buffer = ctypes.create_string_buffer(64)
    here, there = _Piece(ctypes.addressof(buffer), 64), _Piece(world.address, 64)
    one, none = ctypes.c_ulong(1), ctypes.c_ulong(0)
    result = libc.process_vm_readv(world.victim, ctypes.byref(here), one, ctypes.byref(there), one, none)
    check(result, "process_vm_readv")
    return marked(buffer.raw, "the victim's memory")


@probe("memory of others")
def memory_by_page_frames(world: World) -> Finding:
    """Read the states of the machine's page frames from /proc/kpageflags."""
    path = "/proc/kpageflags"
    if not os.path.exists(path):
        raise Lacking(f"no {path}")
    with open(path, "rb", buffering=0) as flags:
        if len(flags.read(64) or b"") == 64:
            return Reached(f"{path} read")
    raise no(errno.ENODATA, f"{path} is empty")


@probe("signals and ptrace to outside", PLAIN)
def signal_sent(world: World) -> Finding:
    """Signal a process of the host by its number."""
    os.kill(world.victim, signal.SIGUSR1)
    return Left(f"a signal to {world.victim}")


@probe("signals and ptrace to outside", PLAIN)
def signal_by_descriptor(world: World) -> Finding:
    """Signal a process of the host by pidfd_send_signal(2)."""
    signal.pidfd_send_signal(os.pidfd_open(world.victim), signal.SIGUSR2)
    return Left(f"a signal to {world.victim}")


@probe("signals and ptrace to outside", PLAIN)
def signal_by_file(world: World) -> Finding:
    """Have a process of the host signalled when a file changes (F_SETOWN of fcntl(2))."""
    for number in (0, 1, 2):
        owner = fcntl.fcntl(number, fcntl.F_GETOWN)
        fcntl.fcntl(number, fcntl.F_SETOWN, world.victim)
        fcntl.fcntl(number, fcntl.F_SETOWN, owner)
    return Reached("the victim would get SIGIO")


@probe("signals and ptrace to outside", PLAIN)
def traced(world: World) -> Finding:
    """Trace a process of the host by ptrace(2) and its number."""
    return _trace(world.victim)


def _trace(process: int) -> Finding:
    check(libc.ptrace(PTRACE_SEIZE, process, None, None), f"ptrace of {process}")
    return Reached(f"tracing process {process}")


@probe("signals and ptrace to outside", PLAIN)
def parent_traced(world: World) -> Finding:
    """Trace the parent of process 1, or whatever /proc shows that is not of the build."""
    foreign = [process for process in others() if _root_differs(process)]
    return first_that_works(foreign, _trace)


def _root_differs(process: int) -> bool:
    try:
        there, here = os.stat(f"/proc/{process}/root"), os.stat("/")
    except OSError:
        return False
    return (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino)


@probe("signals and ptrace to outside", PLAIN)
def priority_of_others(world: World) -> Finding:
    """Change the priority of a process of the host."""
    os.setpriority(os.PRIO_PROCESS, world.victim, os.getpriority(os.PRIO_PROCESS, world.victim))
    if world.victim not in others():
        raise no(errno.ESRCH, "setpriority")
    return Reached("the victim's priority set")


@probe("environment and descriptors of the daemon", PLAIN)
def environment_of_others(world: World) -> Finding:
    """Read the daemon's environment through /proc/PID/environ."""
    return first_that_works(others(), lambda process: _read(f"/proc/{process}/environ"))


@probe("environment and descriptors of the daemon")
def environment_inherited(world: World) -> Finding:
    """Find the daemon's environment in one's own."""
    return marked(b"\0".join(os.environb.values()), "the environment")


@probe("environment and descriptors of the daemon", PLAIN)
def environment_of_init(world: World) -> Finding:
    """Find the daemon's environment in process 1 of the sandbox, which was the daemon's once."""
    with open("/proc/1/environ", "rb") as file:
        return marked(file.read(), "/proc/1/environ")


@probe("environment and descriptors of the daemon")
def memory_of_init(world: World) -> Finding:
    """Find the daemon's secrets in the memory of process 1 of the sandbox, which was the daemon's once."""
    with open("/proc/1/maps") as maps, open("/proc/1/mem", "rb", buffering=0) as memory:
        for line in maps:
            span, rights = line.split()[:2]
            first, last = (int(end, 16) for end in span.split("-"))
            if rights.startswith("rw"):
                data = os.pread(memory.fileno(), min(last - first, 1 << 24), first)
                if MARK in data:
                    return marked(data, "the memory of process 1")
    raise no(errno.ENOENT, "the memory of process 1 has nothing of the host's")


@probe("environment and descriptors of the daemon", PLAIN)
def descriptor_taken(world: World) -> Finding:
    """Take a descriptor of a process of the host by pidfd_getfd(2)."""
    process = os.pidfd_open(world.victim)
    number = call("pidfd_getfd", process, world.descriptor, 0)
    return marked(os.pread(number, 64, 0), "the victim's descriptor")


@probe("environment and descriptors of the daemon", PLAIN)
def same_file_compared(world: World) -> Finding:
    """Learn of the daemon's open files by kcmp(2)."""
    call("kcmp", os.getpid(), world.victim, 2, 0, 0)
    return Reached("compared with the victim's files")


@probe("terminals")
def typed_into_terminal(world: World) -> Finding:
    """Type into the terminal of whoever started the daemon (TIOCSTI)."""
    terminal = os.open("/dev/tty", os.O_RDWR)
    fcntl.ioctl(terminal, termios.TIOCSTI, b"#")
    return Reached("typed # into the terminal")


@probe("terminals")
def terminal_of_descriptors(world: World) -> Finding:
    """Type into a terminal among the descriptors that were inherited."""

    def type_into(number: int) -> Finding:
        fcntl.ioctl(number, termios.TIOCSTI, b"#")
        return Reached(f"typed # into descriptor {number}")

    return first_that_works(range(16), type_into)


@probe("terminals")
def terminals_of_others(world: World) -> Finding:
    """Open a terminal of the host through /proc/PID/fd."""

    def look(path: Path) -> Finding:
        if not os.readlink(path).startswith("/dev/pts/"):
            raise no(errno.ENOENT, f"{path} is no terminal")
        os.close(os.open(path, os.O_RDWR | os.O_NOCTTY))
        return Reached(f"{path} opened")

    return first_that_works((path for number in others() for path in Path(f"/proc/{number}/fd").glob("*")), look)


@probe("processes left behind", PLAIN)
def process_left_behind(world: World) -> Finding:
    """Leave a process that ignores signals, in a session of its own, for after the end of the command."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for number in set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}:
                signal.signal(number, signal.SIG_IGN)
            _become_findable()
            time.sleep(30)
        os._exit(0)
    os.wait()
    time.sleep(0.1)
    return Left("a process named left-behind")


def _become_findable() -> None:
    libc.prctl(15, b"left-behind", 0, 0, 0)
    null = os.open("/dev/null", os.O_RDWR) if os.path.exists("/dev/null") else -1
    for number in range(3):
        if null >= 0:
            os.dup2(null, number)
    os.closerange(3, 1024)


@probe("resource exhaustion", machine=True)
def never_killed_first(world: World) -> Finding:
    """Let the host's kernel kill everyone else first when memory is short (oom_score_adj)."""
    with open("/proc/self/oom_score_adj", "r+") as file:
        file.write("-1000")
    return Reached("oom_score_adj is -1000")


@probe("resource exhaustion")
def real_time(world: World) -> Finding:
    """Run before every process of the host (SCHED_FIFO)."""
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return Reached("ran with real-time priority")


@probe("resource exhaustion")
def better_priority(world: World) -> Finding:
    """Run with better priority than the daemon (nice)."""
    os.nice(-10)
    return Reached("niceness -10")


@probe("kernel settings")
def core_program(world: World) -> Finding:
    """Name a program that the host runs when a process crashes."""
    path = "/proc/sys/kernel/core_pattern"
    if world.expendable:
        Path(path).write_text("|/escape")
        return Reached(f"{path} changed")
    return open_to_write(path)


@probe("kernel settings")
def modprobe_program(world: World) -> Finding:
    """Name a program that the host runs to load a module."""
    return open_to_write("/proc/sys/kernel/modprobe", "/proc/sys/kernel/hotplug", "/proc/sys/kernel/poweroff_cmd")


@probe("kernel settings")
def memory_settings(world: World) -> Finding:
    """Let the host panic when memory is short."""
    return open_to_write("/proc/sys/vm/panic_on_oom")


@probe("kernel settings")
def settings_of_processes(world: World) -> Finding:
    """Lower the host's number of processes."""
    return open_to_write("/proc/sys/kernel/pid_max", "/proc/sys/kernel/threads-max")


@probe("kernel settings", machine=True)
def namespace_settings(world: World) -> Finding:
    """Allow oneself more namespaces than none."""
    path = "/proc/sys/user/max_user_namespaces"
    with open(path, "r+") as file:
        value = file.read()
        os.pwrite(file.fileno(), value.encode(), 0)
    return Surface(f"{path} written")


@probe("kernel settings")
def interrupt_settings(world: World) -> Finding:
    """Choose which processor the host's interrupts go to."""
    return open_to_write("/proc/irq/default_smp_affinity")


@probe("kernel settings", machine=True)
def configuration_of_devices(world: World) -> Finding:
    """Write to the configuration of a PCI device through /proc/bus."""
    found = sorted(Path("/proc/bus/pci").glob("*/*.*"))
    if not found:
        raise Lacking("no /proc/bus/pci")
    return open_to_write(str(found[0]))


@probe("kernel settings")
def foreign_programs(world: World) -> Finding:
    """Register an interpreter that the host runs (binfmt_misc)."""
    place = "/proc/sys/fs/binfmt_misc"
    if not os.path.exists(f"{place}/register"):
        result = libc.mount(b"binfmt_misc", place.encode(), b"binfmt_misc", ctypes.c_ulong(0), None)
        check(result, "mount binfmt_misc")
    return open_to_write(f"{place}/register")


@probe("sysrq", machine=True)
def system_request(world: World) -> Finding:
    """Ask the kernel for help, or a reboot, through /proc/sysrq-trigger."""
    if not os.path.exists("/proc/sysrq-trigger"):
        raise Lacking("no /proc/sysrq-trigger")
    with open("/proc/sysrq-trigger", "w") as file:
        file.write("h")
    return Reached("the kernel wrote its help to its log")


@probe("/sys")
def system_files_written(world: World) -> Finding:
    """Change the kernel through /sys."""
    if not os.path.isdir("/sys/kernel"):
        result = libc.mount(b"sysfs", b"/sys", b"sysfs", ctypes.c_ulong(0), None)
        check(result, "mount sysfs")
    return open_to_write("/sys/kernel/mm/transparent_hugepage/enabled", "/sys/kernel/profiling")


@probe("/sys")
def device_event(world: World) -> Finding:
    """Send the host's device manager a made-up event through /sys."""
    if not os.path.isdir("/sys/devices"):
        result = libc.mount(b"sysfs", b"/sys", b"sysfs", ctypes.c_ulong(0), None)
        check(result, "mount sysfs")
    return open_to_write("/sys/devices/virtual/mem/null/uevent")


@probe("/sys")
def hardware_told(world: World) -> Finding:
    """Read the machine's firmware tables or serial numbers through /sys."""
    for path in ("/sys/firmware/acpi/tables", "/sys/class/dmi/id", "/sys/firmware/memmap"):
        if os.path.isdir(path) and os.listdir(path):
            return Surface(f"{path}: {len(os.listdir(path))} entries")
    raise no(errno.ENOENT, "/sys/firmware, /sys/class/dmi")
