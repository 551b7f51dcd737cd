"""Which system calls a build's commands may make.

Three kinds. What `ALLOWED` lists works as anywhere, within the capabilities of a command. `SUPERVISED` calls wait for
the holder's side: device nodes are made for the build, all others fail with EPERM and are told of where the command
fails. Every other call, so each that Linux gains later, fails with ENOSYS, as on a kernel without it: programs know
what to do then (clone3, io_uring, userfaultfd, the memory policies). The lists were chosen call by call with those of
the usual container engines in view. Programs of the machine's 32-bit sibling run under the same rules.
"""

from __future__ import annotations

import errno
import functools
import itertools
import tempfile
from collections.abc import Iterator
from typing import NamedTuple

import pyseccomp
from pyseccomp import EQ, ERRNO, GT, MASKED_EQ, NOTIFY, Arch, Arg, Attr, SyscallFilter

from imaginator.sandbox.kernel.namespaces import (
    CLONE_NEWCGROUP,
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
)

ALLOWED = """
    # files
    access chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2
    fadvise64 fadvise64_64 arm_fadvise64_64 fallocate fchdir fchmod fchmodat fchown fchown32 fchownat fcntl
    fcntl64 fdatasync fgetxattr flistxattr flock fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs
    fstatfs64 fsync ftruncate ftruncate64 futimesat getcwd getdents getdents64 getxattr ioctl lchown lchown32
    lgetxattr link linkat listxattr llistxattr _llseek lremovexattr lseek lsetxattr lstat lstat64 mkdir mkdirat
    name_to_handle_at newfstatat open openat openat2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 read
    readahead readlink readlinkat readv removexattr rename renameat rmdir sendfile sendfile64 setxattr
    splice stat stat64 statfs statfs64 statx symlink symlinkat sync sync_file_range arm_sync_file_range syncfs
    tee truncate truncate64 umask unlink unlinkat utime utimensat utimensat_time64 utimes vmsplice write writev
    # waiting for files and for events
    epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd eventfd2 fanotify_mark
    inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents
    io_pgetevents io_pgetevents_time64 io_setup io_submit _newselect pipe pipe2 poll ppoll ppoll_time64 pselect6
    pselect6_time64 select signalfd signalfd4
    # memory
    brk cacheflush madvise membarrier memfd_create memfd_secret mincore mlock mlock2 mlockall mmap mmap2
    mprotect mremap msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect process_madvise
    process_mrelease remap_file_pages
    # processes and their ids
    arch_prctl capget capset chroot execve execveat exit exit_group fork vfork getegid getegid32 geteuid
    geteuid32 getgid getgid32 getgroups getgroups32 getpgid getpgrp getpid getppid getpriority getresgid
    getresgid32 getresuid getresuid32 getrlimit getrusage getsid gettid getuid getuid32 kcmp modify_ldt
    pidfd_getfd pidfd_open pidfd_send_signal prctl prlimit64 process_vm_readv process_vm_writev ptrace rseq
    seccomp set_thread_area get_thread_area set_tid_address set_tls setfsgid setfsgid32 setfsuid setfsuid32
    setgid setgid32 setgroups setgroups32 setpgid setpriority setregid setregid32 setresgid setresgid32
    setresuid setresuid32 setreuid setreuid32 setrlimit setsid setuid setuid32 ugetrlimit wait4 waitid waitpid
    landlock_add_rule landlock_create_ruleset landlock_restrict_self
    # threads and turns
    futex futex_time64 futex_waitv get_robust_list set_robust_list getcpu ioprio_get ioprio_set nice
    sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam
    sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr
    sched_setparam sched_setscheduler sched_yield
    # signals
    alarm kill pause restart_syscall rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn
    rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaction sigaltstack signal
    sigpending sigprocmask sigreturn sigsuspend tgkill tkill
    # time, told and waited for
    adjtimex clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64
    clock_nanosleep clock_nanosleep_time64 getitimer gettimeofday nanosleep setitimer time timer_create
    timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create
    timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times
    # between processes
    ipc mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64
    mq_unlink msgctl msgget msgrcv msgsnd semctl semget semop semtimedop semtimedop_time64 shmat shmctl shmdt
    shmget
    # sockets; which families there are says FAMILIES
    accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg recvmmsg_time64
    recvmsg send sendmmsg sendmsg sendto setsockopt shutdown socketcall socketpair
    # the machine, asked
    breakpoint getrandom sysinfo uname usr26 usr32
"""

REFUSED = """
    # mounts and namespaces, of which a command has no need to make more
    fsconfig fsmount fsopen fspick mount mount_setattr move_mount open_tree pivot_root setns umount umount2
    unshare
    # handles that open a file without its path
    open_by_handle_at
    # the kernel itself: its modules, programs, counters, keys, log
    add_key bpf create_module delete_module finit_module init_module kexec_file_load kexec_load keyctl
    lookup_dcookie perf_event_open request_key syslog
    # the host's clock, name, swap, quotas, ports, accounting, terminals
    acct clock_settime clock_settime64 ioperm iopl quotactl quotactl_fd reboot setdomainname sethostname
    settimeofday stime swapoff swapon vhangup
    # events of whole file systems
    fanotify_init
"""

SOCKET_TYPES = {"stream": 1, "dgram": 2, "raw": 3, "rdm": 4, "seqpacket": 5, "dccp": 6}
"""Kinds of sockets that can be opened (socket(2)): not SOCK_PACKET, which gives frames whatever family is asked for."""

FAMILIES = {"unix": 1, "inet": 2, "inet6": 10, "netlink": 16}
"""Sockets that can be opened (address_families(7)): no packets, virtual machines or crypto."""

PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0x40000, 0x40008, 0xFFFFFFFF)
"""What personality(2) may ask for: nothing, a 32-bit uname, an old version's name, fixed addresses; or what it is."""

NEW_NAMESPACES = (
    CLONE_NEWNS,
    CLONE_NEWCGROUP,
    CLONE_NEWUTS,
    CLONE_NEWIPC,
    CLONE_NEWUSER,
    CLONE_NEWPID,
    CLONE_NEWNET,
)
_TYPE_OF_SOCKET = 0xF
"""SOCK_TYPE_MASK of linux/net.h: the rest are flags."""
_RENAME_WHITEOUT = 4
_FORMAT = 0o170000
_DEVICES = (0o020000, 0o060000)
_NO_DEVICES = (0, 0o100000, 0o010000, 0o140000)
_MODE_AT = {"mknod": 1, "mknodat": 2}
_MACHINES = {Arch.X86_64: (Arch.X86,), Arch.AARCH64: (Arch.ARM,)}
_BINARY_TREE = 2
"""SCMP_FLTATR_CTL_OPTIMIZE of seccomp_attr_set(3): a call is found by a few comparisons, not by hundreds."""


class Policy(NamedTuple):
    """A BPF program for seccomp(2), and the names of supervised calls by machine (AUDIT_ARCH) and number."""

    program: bytes
    supervised: dict[tuple[int, int], str]


@functools.cache
def policy() -> Policy:
    """The policy for this machine; raises `OSError` on one that it was not written for."""
    native = pyseccomp.system_arch()
    if native not in _MACHINES:
        raise OSError("the sandbox's system-call filter is for x86-64 and arm64 only")
    rules = SyscallFilter(ERRNO(errno.ENOSYS))
    rules.set_attr(Attr.ACT_BADARCH, ERRNO(errno.ENOSYS))
    rules.set_attr(Attr.CTL_OPTIMIZE, _BINARY_TREE)
    for sibling in _MACHINES[native]:
        rules.add_arch(sibling)
    _add(rules)
    with tempfile.TemporaryFile() as file:
        rules.export_bpf(file)
        file.seek(0)
        program = file.read()
    return Policy(program, dict(_supervised((native, *_MACHINES[native]))))


def names(text: str) -> list[str]:
    """The calls that a list names."""
    lines = (line for line in text.splitlines() if not line.strip().startswith("#"))
    return [name for line in lines for name in line.split()]


def _add(rules: SyscallFilter) -> None:
    for name in names(ALLOWED):
        rules.add_rule(pyseccomp.ALLOW, name)
    for name in names(REFUSED):
        rules.add_rule(NOTIFY, name)
    for family, kind in itertools.product(FAMILIES.values(), SOCKET_TYPES.values()):
        rules.add_rule(pyseccomp.ALLOW, "socket", Arg(0, EQ, family), Arg(1, MASKED_EQ, _TYPE_OF_SOCKET, kind))
    rules.add_rule(ERRNO(errno.EAFNOSUPPORT), "socket", Arg(0, GT, max(FAMILIES.values())))
    # A whiteout is a device node that hides a file of a layer; only who stacks layers has a use for it.
    rules.add_rule(pyseccomp.ALLOW, "renameat2", Arg(4, MASKED_EQ, _RENAME_WHITEOUT, 0))
    rules.add_rule(ERRNO(errno.EINVAL), "renameat2", Arg(4, MASKED_EQ, _RENAME_WHITEOUT, _RENAME_WHITEOUT))
    for value in PERSONALITIES:
        rules.add_rule(pyseccomp.ALLOW, "personality", Arg(0, EQ, value))
    rules.add_rule(pyseccomp.ALLOW, "clone", Arg(0, MASKED_EQ, sum(NEW_NAMESPACES), 0))
    for flag in NEW_NAMESPACES:
        rules.add_rule(NOTIFY, "clone", Arg(0, MASKED_EQ, flag, flag))
    for name, place in _MODE_AT.items():
        for kind in _NO_DEVICES:
            rules.add_rule(pyseccomp.ALLOW, name, Arg(place, MASKED_EQ, _FORMAT, kind))
        for kind in _DEVICES:
            rules.add_rule(NOTIFY, name, Arg(place, MASKED_EQ, _FORMAT, kind))


def _supervised(machines: tuple[int, ...]) -> Iterator[tuple[tuple[int, int], str]]:
    for machine in machines:
        for name in (*names(REFUSED), "clone", *_MODE_AT):
            number = pyseccomp.resolve_syscall(machine, name)
            if number >= 0:  # libseccomp has negative numbers for calls that a machine lacks
                yield (int(machine), number), name
