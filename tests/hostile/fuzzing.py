"""``python -m tests.hostile.fuzzing [SECONDS [NAME…]]``: coverage-guided fuzzing of every parser, or of some.

Each gets SECONDS (60) in a process of its own, which libFuzzer ends. An input that a parser fails on is printed, and
kept in the current folder as ``crash-…``; then the exit status is 1.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import atheris

LARGEST = 4096
SLOW = 20
"""Seconds that one small input may take."""
MEMORY = 2048
INSTRUMENTED = ["imaginator.model", "imaginator.rpc.der", "imaginator.build.packager", "imaginator.srpc"]


def main() -> int:
    """Fuzz one parser after the other; the exit status."""
    seconds, names = sys.argv[1:2] or ["60"], sys.argv[2:]
    from tests.hostile.parsers import PARSERS

    failed = [name for name in names or PARSERS if _fuzz_in_process(name, seconds[0])]
    print(f"{len(names or PARSERS)} parsers fuzzed for {seconds[0]} s each, {len(failed)} failed: {failed}")
    return 1 if failed else 0


def _fuzz_in_process(name: str, seconds: str) -> bool:
    ended = subprocess.run(
        [sys.executable, "-m", "tests.hostile.fuzzing", "--one", name, seconds],
        check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
    )  # fmt: skip
    runs = next((line for line in ended.stdout.splitlines() if line.startswith("Done ")), "")
    print(f"{name}: {runs or ended.stdout[-2000:]}", flush=True)
    return ended.returncode != 0


def _fuzz(name: str, seconds: str) -> None:
    """Never returns: libFuzzer ends the process."""
    with atheris.instrument_imports(include=INSTRUMENTED):
        from tests.hostile.parsers import PARSERS
    with tempfile.TemporaryDirectory(prefix="fuzz-") as corpus:
        for number, seed in enumerate(PARSERS[name].seeds):
            Path(corpus, str(number)).write_bytes(seed)
        limits = [f"-max_total_time={seconds}", f"-max_len={LARGEST}", f"-timeout={SLOW}", f"-rss_limit_mb={MEMORY}"]
        atheris.Setup([sys.argv[0], *limits, corpus], PARSERS[name])
        atheris.Fuzz()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        _fuzz(*sys.argv[2:4])
    sys.exit(main())
