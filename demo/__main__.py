"""``python -m demo FOLDER [--keep]``: from nothing to an image that runs."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from demo.daemon import Daemon, DaemonFailed
from demo.mirror import bootstrap_command
from demo.site import ARCH, BASE_STREAM, Site

STREAM = f"demo/hello/{ARCH}"
LASTING = ("--expires-in", "7d", "--max-source-age", "7d", "--always-show-build-log")
"""What is built once serves the demonstrations of a week."""
_said = time.monotonic()
MANIFESTS = Path(__file__).with_name("manifests")


def main() -> None:
    """Make the site where it is missing, build the image, fetch it and run a program of it."""
    parser = argparse.ArgumentParser(prog="demo", description=main.__doc__)
    parser.add_argument("folder", type=Path, help="where the site is made, or found")
    parser.add_argument("--keep", action="store_true", help="leave the daemon running")
    options = parser.parse_args()
    site = Site(options.folder.resolve())
    if not site.configuration.exists():
        make_site(site)
    daemon = Daemon(site)
    try:
        daemon.start()
        demonstrate(site, daemon)
    except (DaemonFailed, subprocess.CalledProcessError) as error:
        daemon.stop()
        sys.exit(f"demo: {error}")
    except BaseException:
        daemon.stop()
        raise
    if options.keep:
        say(f"the daemon stays at {daemon.url}; end it with: kill {daemon.leave_running()}")
    else:
        daemon.stop()
        say("the daemon is stopped; make demo KEEP=1 leaves it running")


def make_site(site: Site) -> None:
    """Certificates, a repository with two manifests, and both configurations, which come last and mark it whole."""
    shutil.rmtree(site.folder, ignore_errors=True)
    site.folder.mkdir(parents=True)
    site.make_certificates()
    site.make_repository(MANIFESTS)
    site.configure(
        {BASE_STREAM: bootstrap_command(site.folder / "debian.list")},
        {STREAM: site.stream("hello"), f"demo/greeter/{ARCH}": site.stream("greeter")},
    )
    say(f"certificates, a Git repository and a configuration are in {site.folder}")


def demonstrate(site: Site, daemon: Daemon) -> None:
    """Build, show and fetch the image, and run a program of it in a chroot."""
    say(f"the daemon serves {daemon.url}")
    if not json.loads(tool(site, daemon, "list-images", "--json", BASE_STREAM)):
        tool(site, daemon, "build-image", *LASTING, BASE_STREAM)
        say(f"{BASE_STREAM} is bootstrapped")
    name = tool(site, daemon, "build-image", *LASTING, STREAM).strip()
    image: dict[str, Any] = json.loads(tool(site, daemon, "show-image", "--json", name))
    figures = image["Figures"]
    say(f"{name} is built: {figures['Files']} files, {figures['Bytes']:,} bytes, {len(image['Packages'])} packages")
    root = site.folder / "root"
    shutil.rmtree(root, ignore_errors=True)
    tool(site, daemon, "get-image", name, "-o", str(root))
    say(f"fetched into {root}")
    greeting = subprocess.run(["chroot", root, "hello"], check=True, capture_output=True, text=True).stdout.strip()
    say(f"chroot {root} hello says: {greeting}")
    say(f"status page: {daemon.url}")


def tool(site: Site, daemon: Daemon, *arguments: str) -> str:
    """What ``builder-tool`` prints as its result; its progress goes to this terminal."""
    certificate, key = site.certificate("user")
    command = [
        str(Path(sys.executable).with_name("builder-tool")),
        "--imaginator-hostname", "127.0.0.1",
        "--imaginator-port", str(daemon.port),
        "--ca-file", str(site.authority),
        "--cert-file", str(certificate),
        "--key-file", str(key),
        *arguments,
    ]  # fmt: skip
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def say(sentence: str) -> None:
    """One line of progress, with the seconds since the last one."""
    global _said
    now = time.monotonic()
    print(f"demo: {now - _said:5.1f} s  {sentence}", flush=True)
    _said = now


if __name__ == "__main__":
    main()
