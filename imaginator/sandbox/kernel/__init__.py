"""The system calls that Python's standard library lacks, each named by its man page. Standard library only.

Everything that the sandbox asks of Linux by number lies here: `calls` (how a call is made and fails), `mounts`,
`namespaces`, `privileges` (ids, capabilities, what a process may still gain), `seccomp` (filters and supervised calls),
`files`. Written for x86-64 and arm64, whose call numbers are the same from 424 on.
"""
