"""Every process of a sandbox killed at random moments: what depends on it ends at once, and nothing else stays.

``IMAGINATOR_KILLS=COUNT`` (``make escape``) sets how often each is killed, at moments that are new each time;
``IMAGINATOR_SEED`` repeats some. Each case prints its line of the table.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from imaginator.sandbox.sandbox import Profile
from tests.support.kills import DAEMON, ROLES, Role, kill_often
from tests.support.sandboxes import small_tree

KILLS = int(os.environ.get("IMAGINATOR_KILLS", "0"))
SEED = int(os.environ.get("IMAGINATOR_SEED") or (time.time_ns() % 1_000_000 if KILLS else 1))
A_FEW = 2
WITHIN = 1.0
"""Seconds after a kill in which everything is to be gone."""
WITH_OWN_NETWORK = ("slirp4netns", "nft")
CASES = [
    (profile, role)
    for profile in Profile
    for role in (DAEMON, *ROLES)
    if profile is Profile.MANIFEST or role.name not in WITH_OWN_NETWORK
]


@pytest.mark.timeout(0 if KILLS else 180)
@pytest.mark.parametrize(
    ("profile", "role"), CASES, ids=[f"{role.name} of a {profile.value}" for profile, role in CASES]
)
def test_nothing_is_left_after_kills(tmp_path: Path, profile: Profile, role: Role) -> None:
    """No process, mount or loop device; after the next start no directory and no control group either."""
    row = kill_often(tmp_path, small_tree(tmp_path / "tree"), profile, role, KILLS or A_FEW, SEED)
    print(f"{row} (seed {SEED})")

    assert [] == row.leaks
    assert (KILLS or A_FEW) == row.kills
    # Timed in the experiment alone: the machine of the tests may be busy with something else.
    assert not KILLS or row.slowest < WITHIN
