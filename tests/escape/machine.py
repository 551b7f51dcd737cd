"""The probes on a machine with Debian's own kernel, where nothing is spared: each is tried in earnest."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.escape.host import Outcome, results
from tests.escape.inside.probing import ORIGINAL, PIVOTED, PLAIN, SANDBOX
from tests.support.virtual_machine import VirtualMachine, debian_kernel

OWN = ("imaginator", "tests/escape", "tests/support/real_reactor.py", "tests/__init__.py")
PLACES = (SANDBOX, ORIGINAL, PLAIN, PIVOTED)
SECONDS = 1800
"""Of an emulated machine, should it come to that."""

# A file system of its own for the baits and for a copy of the machine's own tree, which must have none of them. A mere
# bind mount of the tree would not do: a sandbox takes layers as directories, without what is mounted on them.
_SCRIPT = """
truncate --size 3G /image && mke2fs -q -F -t ext4 -O ^has_journal /image || exit
mkdir --parents /scratch && mount -o loop /image /scratch && mkdir /scratch/tree || exit
cp --archive --one-file-system /bin /etc /lib* /opt /root /sbin /usr /var /scratch/tree || exit
mkdir /scratch/tree/dev /scratch/tree/proc /scratch/tree/run /scratch/tree/sys /scratch/tree/tmp || exit
export PYTHONPATH=/payload:/payload/site PATH="$PATH:/payload" ESCAPE_BAIT="bait of the host: in the environment"
python3 -m tests.escape.host /scratch/tree {places} --expendable
"""


def on_machine(tree: Path, scratch: Path) -> Iterator[Outcome]:
    """Try all probes in a sandbox and without one; ``tree`` is a tar file. Raises `NoMachine` where there is none."""
    files = scratch / "files"
    _collect(files)
    machine = VirtualMachine(debian_kernel(), tree, scratch)
    status, output = machine.run(_SCRIPT.format(places=" ".join(PLACES)), files, timeout=SECONDS)
    if status:
        raise RuntimeError(f"the machine's script ended with status {status}: {output[-3000:]}")
    yield from results(output)


def _collect(files: Path) -> None:
    """The project's code and, in ``site``, what it imports."""
    for name in OWN:
        source, target = Path(name), files / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    (files / "site").mkdir()
    for package in _imported():
        target = files / "site" / package.name
        if package.is_dir():
            shutil.copytree(package, target, ignore=shutil.ignore_patterns("__pycache__", "test", "tests"))
        else:
            shutil.copy(package, target)


def _imported() -> set[Path]:
    """The packages of others that trying probes imports."""
    code = "import sys, tests.escape.host\nfor m in [*sys.modules.values()]: print(getattr(m, '__file__', ''))"
    listed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    places = [Path(line) for line in listed.splitlines() if "/site-packages/" in line]
    roots = {Path(str(path).partition("/site-packages/")[0], "site-packages") for path in places}
    return {root / path.relative_to(root).parts[0] for path in places for root in roots if path.is_relative_to(root)}
