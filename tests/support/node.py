"""What tests need from npm, kept in the user's cache folder."""

from __future__ import annotations

import hashlib
import subprocess
import time
from pathlib import Path

from tests.support.base_tree import ATTEMPTS, cache_folder

PACKAGE = Path(__file__).with_name("package.json")


def node_modules() -> Path:
    """The folder of the packages that ``package.json`` names, which are installed where they are not there yet."""
    package = PACKAGE.read_bytes()
    folder = cache_folder() / f"npm-{hashlib.sha256(package).hexdigest()[:20]}"
    done = folder / "done"
    for attempt in range(ATTEMPTS):
        if done.exists():
            break
        time.sleep(2**attempt - 1)
        folder.mkdir(exist_ok=True)
        (folder / "package.json").write_bytes(package)
        command = ["npm", "install", "--prefix", str(folder), "--no-audit", "--no-fund", "--silent", "--ignore-scripts"]
        if subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode == 0:
            done.touch()
    assert done.exists(), "npm could not install what tests need"
    return folder / "node_modules"
