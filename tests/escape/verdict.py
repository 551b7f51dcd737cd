"""What a probe's results in all places come to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from tests.escape.host import Outcome
from tests.escape.inside.probing import ORIGINAL, PROBES, SANDBOX, Probe

PACKAGES = ("nftables", "python3", "slirp4netns")
"""What the tree has beyond a minimal Debian: what probes are written in, and on the machine what a sandbox needs."""

SURFACES = {
    "filter-of-sockets": "DHCP clients and udev filter sockets so; seccomp(2), which must stay, runs the same programs",
    "old-asynchronous-calls": "databases that packages set up in their scripts read and write so (InnoDB, PostgreSQL)",
    "raw-internet": "ping needs it (CAP_NET_RAW); the packets are the build's own network's and pass its firewall",
    "socket-of-bind": "a socket in a directory that the operator binds into builds is the operator's gift to them",
    "device-events-heard": "the events of the build's own network, which udev of a package may listen to",
}
"""What is open without being a way out, and why it must stay."""

REACHED, SURFACE, BLOCKED = "reached", "surface", "blocked"
NOT_SHOWN, BROKEN, LACKING = "not shown", "broken", "lacking"


class Verdict(NamedTuple):
    """Of one probe: the outcome in the sandbox and the words of it, the original's, and where it was seen to succeed.

    ``control`` is empty where it never did: then nothing is shown by its being refused.
    """

    probe: Probe
    outcome: str
    detail: str
    original: str
    control: str


def verdicts(outcomes: Iterable[tuple[str, Outcome]]) -> list[Verdict]:
    """One for each probe, of outcomes with the name of the kernel that they were had on."""
    known = list(outcomes)
    return [
        _verdict(one, [(kernel, found) for kernel, found in known if found.name == one.name]) for one in PROBES.values()
    ]


def _verdict(one: Probe, found: list[tuple[str, Outcome]]) -> Verdict:
    inside = [result for _, result in found if result.place == SANDBOX]
    original = [result.outcome for _, result in found if result.place == ORIGINAL]
    controls = [
        f"{kernel}: {result.place}" for kernel, result in found if result.place != SANDBOX and succeeded(result)
    ]
    worst = min(inside, key=lambda result: _ORDER.index(result.outcome))
    outcome = worst.outcome
    if outcome in (BLOCKED, LACKING):
        outcome = BLOCKED if controls else NOT_SHOWN
    shown = min(original, key=_ORDER.index, default="not tried")
    return Verdict(one, outcome, worst.detail, shown, controls[0] if controls else "")


_ORDER = (REACHED, BROKEN, SURFACE, BLOCKED, LACKING)


def succeeded(result: Outcome) -> bool:
    """Whether a probe got what it was after."""
    return result.outcome in (REACHED, SURFACE)
