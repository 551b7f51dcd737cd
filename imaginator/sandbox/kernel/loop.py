"""Files as block devices. See loop(4)."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct

_CONTROL = "/dev/loop-control"
_GET_FREE = 0x4C82
_CONFIGURE = 0x4C0A
_SET_DIRECT_IO = 0x4C08
_LITTLE = {"max_ratio": "1", "strict_limit": "1"}
_USUAL = {"max_ratio": "100", "strict_limit": "0"}
"""Percent of what may wait to be written, and whether that is kept to; the kernel's defaults."""
_AUTOCLEAR = 4
_WRITTEN = {"session_write_kbytes": 1 << 10, "delayed_allocation_blocks": 4096}
_ATTEMPTS = 100


def attach_loop(file: int) -> tuple[int, bytes]:
    """Make a block device of an open file: its descriptor and its path.

    Once mounted, it is released with the mount; until then with the descriptor.
    """
    with open(_CONTROL, "rb", buffering=0) as control:
        for _ in range(_ATTEMPTS):
            path = b"/dev/loop%d" % fcntl.ioctl(control, _GET_FREE)
            device = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.ioctl(device, _CONFIGURE, _configuration(file))
                return device, path
            except OSError as error:
                os.close(device)
                if error.errno != errno.EBUSY:  # somebody else was faster
                    raise
    raise OSError(errno.EBUSY, "no loop device is free", _CONTROL)


def _configuration(file: int) -> bytes:
    header = struct.pack("II", file, 0)
    # Five numbers of the device and its range; its number, two of its encryption, and the flags; names and keys.
    information = bytes(5 * 8) + struct.pack("4I", 0, 0, 0, _AUTOCLEAR) + bytes(64 + 64 + 32 + 2 * 8)
    return header + information + bytes(8 * 8)


def attached(file: int) -> bool:
    """Whether some loop device still uses an open file, such as one whose mount is just going away."""
    return _device(os.fstat(file)) is not None


def device_of(file: os.PathLike[str]) -> str | None:
    """The name of the loop device that uses a file; None where there is none, or no such file."""
    try:
        return _device(os.stat(file))
    except FileNotFoundError:
        return None


def _device(status: os.stat_result) -> str | None:
    for name in os.listdir("/sys/block"):
        try:
            with open(f"/sys/block/{name}/loop/backing_file", "rb") as backing:
                other = os.stat(backing.read().rstrip(b"\n"))
        except OSError:
            continue  # no loop device, or without a file
        if (other.st_dev, other.st_ino) == (status.st_dev, status.st_ino):
            return name
    return None


def written(name: str) -> int:
    """The bytes that were written to an ext4 on a loop device, also such as are in the cache yet; 0 where it is gone.

    See Linux' admin-guide/ext4.rst.
    """
    return sum(_count(f"/sys/fs/ext4/{name}/{file}") * unit for file, unit in _WRITTEN.items())


def _count(path: str) -> int:
    try:
        with open(path) as file:
            return int(file.read())
    except OSError:
        return 0


def bypass_cache(name: str) -> None:
    """Have a loop device write to its file past the page cache, and keep little of what is written to it in memory.

    Either alone is not enough (measured). Takes as long as what is there takes to be written; raises ``OSError`` where
    the file's file system has no such writes.
    """
    _limit_memory(name, _LITTLE)
    device = os.open(f"/dev/{name}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(device, _SET_DIRECT_IO, 1)
    finally:
        os.close(device)


def forget_limits(name: str) -> None:
    """Let a device be as others: what limits its memory outlives the file."""
    _limit_memory(name, _USUAL)


def forget_all_limits() -> None:
    """The same for all loop devices that have no file: a daemon that was killed could not do so."""
    for name in os.listdir("/sys/block"):
        if name.startswith("loop") and not os.path.exists(f"/sys/block/{name}/loop/backing_file"):
            forget_limits(name)


def _limit_memory(name: str, settings: dict[str, str]) -> None:
    """See Linux' ABI/testing/sysfs-class-bdi; kernels before 6.2 have but one of the two."""
    with contextlib.suppress(OSError), open(f"/sys/block/{name}/dev") as number:
        place = f"/sys/class/bdi/{number.read().strip()}"
        for file, value in settings.items():
            with contextlib.suppress(OSError), open(f"{place}/{file}", "w") as setting:
                setting.write(value)
