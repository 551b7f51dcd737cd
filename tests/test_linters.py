"""The linters and the type checker are tests too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CODE = ["imaginator", "demo", "benchmarks", "tests", "twisted", "docs"]

CHECKS = {
    "ruff check": ["ruff", "check", "--no-cache", *CODE],
    "ruff format": ["ruff", "format", "--no-cache", "--check", *CODE],
    "mypy": ["mypy", "imaginator", "demo", "benchmarks", "tests"],
    "sphinx": ["sphinx-build", "-W", "-q", "-E", "-d", "{tmp}/doctrees", "docs", "{tmp}/html"],
}


@pytest.mark.parametrize("name", CHECKS)
def test_linter_is_content(name: str, tmp_path: Path) -> None:
    """Each tool finds nothing to say about the tree."""
    program, *arguments = (word.replace("{tmp}", str(tmp_path)) for word in CHECKS[name])
    result = subprocess.run(
        [Path(sys.executable).with_name(program), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    "path", [".ci/run", "deb/build", "deb/postinst", "deb/prerm", "deb/postrm", "etc/init.d/imaginator"]
)
def test_shell_scripts_parse(path: str) -> None:
    """Every shell script is at least well formed, for the shell that it names."""
    shell = "bash" if "bash" in (ROOT / path).read_text().splitlines()[0] else "sh"
    result = subprocess.run([shell, "-n", path], cwd=ROOT, capture_output=True, text=True, check=False)

    assert result.stderr == ""
