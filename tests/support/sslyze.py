"""SSLyze in an environment of its own, because it wants an older cryptography than the program; kept in the cache."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.base_tree import cache_folder

RELEASE = "6.3.1"
SCANS = (
    "sslv2", "sslv3", "tlsv1", "tlsv1_1", "tlsv1_2", "tlsv1_3", "compression", "early_data", "openssl_ccs", "fallback",
    "heartbleed", "robot", "reneg", "resum", "ems", "elliptic_curves",
)  # fmt: skip


def scan(port: int, folder: Path) -> dict[str, Any]:
    """What each scan of a port of the loopback found, by its name in SSLyze's JSON."""
    report = folder / "sslyze.json"
    options = [f"--{name}" for name in SCANS]
    command = [str(_interpreter()), "-m", "sslyze", "--quiet", f"--json_out={report}", *options, f"127.0.0.1:{port}"]
    subprocess.run([*command, "--mozilla_config=disable"], check=True, capture_output=True)
    (found,) = json.loads(report.read_text())["server_scan_results"]
    return {name: result["result"] for name, result in found["scan_result"].items() if result["status"] == "COMPLETED"}


def _interpreter() -> Path:
    """The interpreter of the environment, which appears whole or not at all."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    place = cache_folder() / f"sslyze-{RELEASE}-python-{version}"
    if not place.exists():
        fresh = place.with_name(f".{place.name}.{os.getpid()}")
        try:
            subprocess.run([sys.executable, "-m", "venv", fresh], check=True)
            install = [
                str(fresh / "bin/python"),
                "-m",
                "pip",
                "install",
                "--quiet",
                "--retries",
                "5",
                f"sslyze=={RELEASE}",
            ]
            subprocess.run(install, check=True, capture_output=True)
            fresh.rename(place)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return place / "bin/python"
