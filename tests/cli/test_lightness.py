"""What commands import: those that only ask a daemon know neither Twisted nor what a build needs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from imaginator.cli.commands import COMMANDS

ROOT = Path(__file__).parents[2]
HEAVY = {"twisted", "cryptography", "OpenSSL", "re2", "zope", "treq"}
PROGRAM = """
import json, sys
from imaginator.cli.main import main
try:
    main([sys.argv[1], "--help"])
except SystemExit:
    print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})), file=sys.stderr)
"""


def imported(command: str) -> set[str]:
    """The top-level packages that a command imports before it does anything."""
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, command], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    return set(json.loads(run.stderr))


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_imports_what_builds_need(command: str) -> None:
    """Those that build by themselves import it when they begin to."""
    assert set() == imported(command) & HEAVY


def test_the_quickest() -> None:
    """Listing images needs the standard library and click."""
    assert set() == imported("list-images") & {"msgspec", "tarfile", "tempfile"}
