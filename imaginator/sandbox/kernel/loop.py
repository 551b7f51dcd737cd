"""Files as block devices. See loop(4)."""

from __future__ import annotations

import errno
import fcntl
import os
import struct

_CONTROL = "/dev/loop-control"
_GET_FREE = 0x4C82
_CONFIGURE = 0x4C0A
_AUTOCLEAR = 4
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
    status = os.fstat(file)
    for name in os.listdir("/sys/block"):
        try:
            with open(f"/sys/block/{name}/loop/backing_file", "rb") as backing:
                other = os.stat(backing.read().rstrip(b"\n"))
        except OSError:
            continue  # no loop device, or without a file
        if (other.st_dev, other.st_ino) == (status.st_dev, status.st_ino):
            return True
    return False
