"""Taking so much of a thing that the host has none left. What stops them is a limit of the test's own, a small one."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import socket

from tests.escape.inside.probing import Finding, Reached, World, check, fresh, libc, no, probe

MEMORY = 256 << 20
"""More than the limit of the sandbox."""

PROCESSES = 300
"""More than the limit of the sandbox."""

DISK = 192 << 20
"""More than the limit of the sandbox, in bytes."""

INODES = 20_000
"""More than the limit of the sandbox."""

_MEGABYTE = b"\1" * (1 << 20)


@probe("resource exhaustion", alone=True)
def many_processes(world: World) -> Finding:
    """Start hundreds of processes."""
    alive, dead = os.pipe()
    try:
        for _ in range(PROCESSES):
            if os.fork() == 0:
                os.close(dead)
                os.read(alive, 1)
                os._exit(0)
    except OSError as error:
        raise no(error.errno or errno.EAGAIN, "fork") from error
    finally:
        os.close(dead)
    return Reached(f"{PROCESSES} processes")


@probe("resource exhaustion", alone=True)
def much_memory(world: World) -> Finding:
    """Use much memory."""
    taken = bytearray()
    while len(taken) < MEMORY:
        taken += _MEGABYTE
    return Reached(f"{MEMORY >> 20} MiB of memory")


@probe("resource exhaustion", alone=True)
def much_shared_memory(world: World) -> Finding:
    """Fill a file in memory (memfd_create(2)), which no process' size shows."""
    with open(os.memfd_create("escape"), "wb", buffering=0) as file:
        for _ in range(MEMORY >> 20):
            file.write(_MEGABYTE)
    return Reached(f"{MEMORY >> 20} MiB in a file in memory")


@probe("resource exhaustion", alone=True)
def much_in_dev_shm(world: World) -> Finding:
    """Fill /dev/shm."""
    os.makedirs("/dev/shm", exist_ok=True)
    path = "/dev/shm/much"
    try:
        with open(path, "wb", buffering=0) as file:
            for _ in range(MEMORY >> 20):
                file.write(_MEGABYTE)
    finally:
        if os.path.exists(path):
            os.unlink(path)
    return Reached(f"{MEMORY >> 20} MiB in /dev/shm")


@probe("resource exhaustion", alone=True)
def much_in_a_segment(world: World) -> Finding:
    """Fill a System V shared memory segment, which outlives its process."""
    segment = check(libc.shmget(0, ctypes.c_size_t(MEMORY), 0o1600), "shmget")
    libc.shmat.restype = ctypes.c_void_p
    place = libc.shmat(segment, None, 0)
    libc.shmctl(segment, 0, None)  # gone with the last process that has it
    if place in (None, ctypes.c_void_p(-1).value):
        raise no(ctypes.get_errno(), "shmat")
    for offset in range(0, MEMORY, 4096):
        ctypes.memset(place + offset, 1, 1)
    return Reached(f"{MEMORY >> 20} MiB in a shared segment")


@probe("resource exhaustion", alone=True)
def much_in_the_kernel(world: World) -> Finding:
    """Fill the kernel's memory with what sockets hold back."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    pairs, held = [], 0
    while held < MEMORY:
        one, other = socket.socketpair()
        one.setblocking(False)
        pairs.append((one, other))
        try:
            while True:
                held += one.send(_MEGABYTE[:65536])
        except BlockingIOError:
            continue
        except OSError as error:
            raise no(error.errno or errno.ENOBUFS, f"{held >> 20} MiB held in sockets") from error
    return Reached(f"{held >> 20} MiB held in sockets")


@probe("resource exhaustion", alone=True)
def much_disk(world: World) -> Finding:
    """Fill the disk."""
    with open("/var/tmp/much", "wb", buffering=0) as file:
        for _ in range(DISK >> 20):
            file.write(_MEGABYTE)
    os.unlink("/var/tmp/much")
    return Reached(f"{DISK >> 20} MiB on the disk")


@probe("resource exhaustion", alone=True)
def many_files(world: World) -> Finding:
    """Use up the disk's inodes."""
    place = fresh("many")
    for number in range(INODES):
        os.mknod(f"{place}/{number}")
    return Reached(f"{INODES} files")
