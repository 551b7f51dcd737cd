"""``python -m tests.escape [--here]``: try every way out of a sandbox that is known here, and print what came of it.

``--here`` leaves the machine with Debian's own kernel out. Exits 1 where anything reached the host, where a surface is
open that is not accounted for, or where a probe is at fault itself.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.escape.host import Outcome, twin
from tests.escape.inside.probing import ORIGINAL, PIVOTED, PLAIN, SANDBOX
from tests.escape.machine import on_machine
from tests.escape.verdict import BLOCKED, BROKEN, NOT_SHOWN, PACKAGES, REACHED, SURFACE, SURFACES, Verdict, verdicts
from tests.support.base_tree import base_tar, unpacked
from tests.support.virtual_machine import NoMachine

PLACES = (SANDBOX, ORIGINAL, PLAIN, PIVOTED)
_COLUMNS = "{:45} {:10} {:10} {}"


def main(here: bool) -> int:
    """The exit status."""
    with tempfile.TemporaryDirectory(prefix="escape-") as name:
        scratch = Path(name)
        scratch.chmod(0o755)
        found = verdicts(_outcomes(scratch, here))
    _print_table(found)
    _print_sum(found)
    bad = [one for one in found if one.outcome in (REACHED, BROKEN)]
    return 1 if bad or _unaccounted(found) else 0


def _outcomes(scratch: Path, here: bool) -> Iterator[tuple[str, Outcome]]:
    """Every outcome, with the kernel that it was had on."""
    tar = base_tar(scratch, PACKAGES)
    for outcome in twin(unpacked(tar, scratch / "root"), PLACES):
        yield "this kernel", outcome
    if here:
        return
    try:
        for outcome in on_machine(tar, scratch):
            yield "Debian's kernel", outcome
    except NoMachine as problem:
        print(f"no machine, so what this kernel lacks is not shown: {problem}\n", file=sys.stderr)


def _print_table(found: list[Verdict]) -> None:
    heading = ""
    for one in sorted(found, key=lambda one: one.probe.heading):
        if one.probe.heading != heading:
            heading = one.probe.heading
            print("\n" + _COLUMNS.format(heading, "sandbox", "original", "seen to succeed on"))
        print(_COLUMNS.format(f"  {one.probe.name}", one.outcome, one.original, one.control or "none"))
        print(f"      {one.probe.mechanism}: {' '.join(one.detail.split())[:100]}")


def _print_sum(found: list[Verdict]) -> None:
    print()
    for outcome in (REACHED, SURFACE, BLOCKED, NOT_SHOWN, BROKEN):
        names = [one.probe.name for one in found if one.outcome == outcome]
        listed = "" if outcome == BLOCKED else ": " + ", ".join(names) if names else ""
        print(f"{outcome:10}{len(names):4} of {len(found)} probes{listed}")
    reached = sum(one.original == REACHED for one in found)
    print(f"{reached} of them reach the host behind the original's chroot")
    for one in found:
        if one.outcome == SURFACE:
            print(f"surface {one.probe.name}: {SURFACES.get(one.probe.name, 'NOT ACCOUNTED FOR')}")


def _unaccounted(found: list[Verdict]) -> bool:
    return any(one.outcome == SURFACE and one.probe.name not in SURFACES for one in found)


if __name__ == "__main__":
    sys.exit(main("--here" in sys.argv[1:]))
