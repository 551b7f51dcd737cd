"""Who may do what."""

from __future__ import annotations

import pytest

from imaginator.model.identity import Identity, Trusted

TRUSTED = Trusted(frozenset({"root"}), frozenset({"admins"}))


@pytest.mark.parametrize(
    ("identity", "expected"),
    [
        (Identity("ann"), False),
        (Identity("root"), True),
        (Identity("ann", ("admins",)), True),
        (Identity("ann", (), ("Imaginator.*",)), True),
        (Identity("ann", (), ("ImageServer.*", "imaginator.buildimage")), False),
    ],
)
def test_full_access(identity: Identity, expected: bool) -> None:
    """By a trusted user or group, or by a method that the certificate permits, in its exact case."""
    assert expected == TRUSTED.full_access(identity, "Imaginator.BuildImage")
