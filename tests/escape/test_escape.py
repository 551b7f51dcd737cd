"""No way out of a sandbox that is known here leads out; each was seen to lead out where there is no sandbox."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.escape.host import Outcome, twin
from tests.escape.inside.probing import ORIGINAL, PIVOTED, PLAIN, PROBES, SANDBOX
from tests.escape.verdict import PACKAGES, SURFACES, Verdict, succeeded, verdicts
from tests.support.base_tree import base_tar, unpacked

SHOWN_HERE = [name for name, one in PROBES.items() if not one.machine]
HEADINGS = """
    block devices; mounts; chroot by open directory; /proc of others and of the host; kernel settings; sysrq; /sys;
    cgroup release agents; handles; namespaces joined; signals and ptrace to outside; memory of others;
    environment and descriptors of the daemon; abstract and path sockets; loopback; metadata address; raw sockets;
    keyrings; BPF; perf; userfaultfd; io_uring; kexec; modules; clock; host name; swap; accounting; terminals;
    links and mounts out of the tree; set-id files seen from the host; device nodes left behind; resource exhaustion
"""


@pytest.fixture(scope="session")
def outcomes() -> Iterator[list[Outcome]]:
    """What every probe came to in every place."""
    with tempfile.TemporaryDirectory(prefix="escape-") as name:
        scratch = Path(name)
        scratch.chmod(0o755)
        tree = unpacked(base_tar(scratch, PACKAGES), scratch / "root")
        yield list(twin(tree, (SANDBOX, ORIGINAL, PLAIN, PIVOTED)))


@pytest.fixture
def verdict(outcomes: list[Outcome], name: str) -> Verdict:
    """What one probe came to."""
    return next(one for one in verdicts(("here", outcome) for outcome in outcomes) if one.probe.name == name)


@pytest.mark.timeout(900)  # the first one may have to make the tree, from a mirror
@pytest.mark.parametrize("name", PROBES)
def test_no_way_leads_out(verdict: Verdict) -> None:
    """Nothing of the host is reached, and what is open is accounted for."""
    expected = ["surface"] if verdict.probe.name in SURFACES else ["blocked", "not shown"]

    assert verdict.outcome in expected, verdict


@pytest.mark.parametrize("name", SHOWN_HERE)
def test_every_way_leads_out_without_a_sandbox(outcomes: list[Outcome], name: str) -> None:
    """A probe that cannot succeed shows nothing."""
    place = PROBES[name].shown_by
    result = next(outcome for outcome in outcomes if (outcome.place, outcome.name) == (place, name))

    assert succeeded(result), result


def test_every_heading_has_a_probe() -> None:
    """The list of what must be tried is tried."""
    wanted = {" ".join(heading.split()) for heading in HEADINGS.split(";")}

    assert wanted <= {one.heading for one in PROBES.values()}


def test_most_lead_out_of_the_originals_chroot(outcomes: list[Outcome]) -> None:
    """The worth of the sandbox: what it replaces stops few of them."""
    original = [outcome for outcome in outcomes if outcome.place == ORIGINAL]
    reached = [outcome for outcome in original if outcome.outcome == "reached"]

    assert len(reached) > len(original) / 2
