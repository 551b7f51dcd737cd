"""The packages' files, fetched once and kept in the user's cache folder: every installation has the same.

The folder is named after the base tree, which says which packages are needed beside its own.
"""

from __future__ import annotations

import fcntl
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.packages.catalogue import ENVIRONMENT, Case
from tests.packages.plain import run
from tests.support.base_tree import ATTEMPTS, cache_folder

_OPTIONS = "-y -q -o Acquire::Retries=5 -o APT::Sandbox::User=root --no-install-recommends --reinstall"
_UPDATE = "apt-get update -q -o Acquire::Retries=5 -o Acquire::CompressionTypes::Order::=gz"
_FETCH = f"""
set -eu
mkdir -p /tmp/none/partial /mnt/partial
apt-get {_OPTIONS} -qq --print-uris -o Dir::Cache::archives=/tmp/none install $packages > /tmp/uris
apt-get {_OPTIONS} --download-only -o Dir::Cache::archives=/mnt install $packages
cut -d ' ' -f 2 /tmp/uris > "/mnt/$name"
"""


class Debs:
    """The files of packages for one base tree, in ``folder``."""

    def __init__(self, base: Path, tar: Path) -> None:
        self.folder = cache_folder() / f"debs-{tar.stem.removeprefix('debian-')}"
        self.folder.mkdir(exist_ok=True)
        self._base = base

    def of(self, case: Case) -> list[str]:
        """The names of a case's files; they are there after `fetch`."""
        return self._list(case).read_text().split()

    def _list(self, case: Case) -> Path:
        return self.folder / f"{case.packages.replace(' ', '+')}.list"

    def fetch(self, cases: Sequence[Case], scratch: Path) -> None:
        """Fetch what is missing; ``scratch`` is a new directory. Raises RuntimeError where the mirror has it not."""
        with self._locked():
            missing = [case for case in cases if not self._list(case).exists()]
            try:
                if missing:
                    self._run(_UPDATE, "", "", scratch)
                for case in missing:
                    self._fetch(case, scratch)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)

    def _fetch(self, case: Case, scratch: Path) -> None:
        if "add-architecture" in case.before:
            # Where one index of the other architecture cannot be had, others may do: the next step tells.
            self._run(f"{case.before}; {_UPDATE} || true", "", "", scratch)
        part = self._list(case).with_suffix(".part")
        self._run(_FETCH, case.packages, part.name, scratch)
        part.rename(self._list(case))

    def _run(self, script: str, packages: str, name: str, scratch: Path) -> None:
        """Run a script with the host's network; a mirror may fail a few times."""
        (scratch / "upper" / "etc").mkdir(parents=True, exist_ok=True)
        shutil.copy("/etc/resolv.conf", scratch / "upper" / "etc" / "resolv.conf")
        for attempt in range(ATTEMPTS):
            try:
                variables = {**ENVIRONMENT, "packages": packages, "name": name}
                return run(self._base, scratch, self.folder, script, variables, network=True)
            except RuntimeError:
                if attempt == ATTEMPTS - 1:
                    raise
                time.sleep(2**attempt)
        return None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
