"""Who calls, and what a caller may do.

A certificate names a user, groups and permitted methods (patterns such as ``Imaginator.*``). Full access to a method:
one of the patterns matches it, or the user or one of the groups is trusted by the daemon's flags.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

import msgspec


class Identity(msgspec.Struct, frozen=True):
    """A verified caller."""

    user: str
    groups: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()


class Trusted(msgspec.Struct, frozen=True):
    """The users and groups that the daemon's flags grant every method."""

    users: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()

    def full_access(self, identity: Identity, method: str) -> bool:
        """Whether ``identity`` may call ``method`` (``Service.Method``) without further checks."""
        return (
            identity.user in self.users
            or not self.groups.isdisjoint(identity.groups)
            or any(fnmatchcase(method, pattern) for pattern in identity.methods)
        )


class Caller(msgspec.Struct, frozen=True):
    """An identity with the answer for the method it calls; what the builder checks a stream's builders against."""

    user: str
    groups: tuple[str, ...] = ()
    full_access: bool = False
