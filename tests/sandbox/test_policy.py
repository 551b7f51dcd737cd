"""The lists of system calls: what they hold, and what the filter that they make does."""

from __future__ import annotations

import struct

import pyseccomp
import pytest

from imaginator.sandbox import policy
from imaginator.sandbox.policy import ALLOWED, REFUSED, names

DANGEROUS = {
    "mount", "umount2", "pivot_root", "setns", "unshare", "open_by_handle_at", "init_module", "finit_module",
    "kexec_load", "bpf", "perf_event_open", "keyctl", "add_key", "request_key", "swapon", "reboot", "settimeofday",
    "clock_settime", "acct", "iopl", "ioperm", "sethostname", "syslog", "quotactl", "move_mount", "fsopen", "open_tree",
    "mount_setattr", "vhangup",
}  # fmt: skip
NOWHERE = {"clone3", "io_uring_setup", "userfaultfd", "mbind", "move_pages", "nfsservctl", "uselib", "vm86"}


def test_every_name_is_a_call_and_stands_once() -> None:
    """A misspelt name would be left out of the filter without a word."""
    listed = names(ALLOWED) + names(REFUSED)

    assert len(listed) == len(set(listed))
    assert [] == [name for name in listed if pyseccomp.resolve_syscall(pyseccomp.system_arch(), name) == -1]


def test_what_reaches_for_the_host_is_refused() -> None:
    """And what programs can do without is not there at all."""
    assert set(names(REFUSED)) >= DANGEROUS
    assert NOWHERE.isdisjoint(names(ALLOWED) + names(REFUSED))


def test_the_filter_is_one_that_the_kernel_takes() -> None:
    """Whole instructions of eight bytes, fewer than BPF_MAXINSNS."""
    program, supervised = policy.policy()

    assert 0 == len(program) % struct.calcsize("HBBI")
    assert len(program) // 8 < 4096
    assert {"mount", "mknod", "clone"} <= set(supervised.values())


def test_a_machine_that_it_was_not_written_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told of; there is no filter that lets everything pass."""
    monkeypatch.setattr(pyseccomp, "system_arch", lambda: pyseccomp.Arch.PPC64LE)

    with pytest.raises(OSError, match="x86-64 and arm64 only"):
        policy.policy.__wrapped__()


def test_the_filter_of_the_other_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """That of arm64 can be made anywhere, so that its lists are known to be right."""
    monkeypatch.setattr(pyseccomp, "system_arch", lambda: pyseccomp.Arch.AARCH64)

    assert {"mount", "mknodat", "clone"} <= set(policy.policy.__wrapped__().supervised.values())
