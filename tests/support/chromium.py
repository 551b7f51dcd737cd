"""Debian's Chromium without a screen, with a client certificate where a test wants to be somebody.

Which certificate a browser shows is asked of its user, or said by a policy of the host. The policy that a test needs is
seen by its own browser alone, which has a mount namespace; so have its certificates, by their ``HOME``.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

from demo.site import Site

PROGRAM = "/usr/bin/chromium"
POLICIES = "/etc/chromium"
PATIENCE = 60.0

_WRAPPER = """#!/bin/sh
exec unshare --mount --propagation private sh -c 'mount --bind "$0" "$1" && shift && exec "$@"' \\
    {policies} {place} env HOME={home} {program} "$@"
"""


@contextmanager
def chromium(program: str = PROGRAM) -> Iterator[webdriver.Chrome]:
    """A browser that keeps what its console says, and what it asks for."""
    options = Options()
    options.binary_location = program
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1400,1000"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options, Service("/usr/bin/chromedriver"))
    try:
        yield browser
    finally:
        browser.quit()


@contextmanager
def identified_chromium(folder: Path, site: Site, who: str) -> Iterator[webdriver.Chrome]:
    """A browser that trusts the site's authority, and shows the certificate of ``who`` to whoever asks for one."""
    home, policies = folder / "home", folder / "chromium"
    _import(home / ".pki" / "nssdb", site, who)
    managed = policies / "policies" / "managed"
    managed.mkdir(parents=True)
    everywhere = json.dumps({"pattern": "*", "filter": {}})
    (managed / "certificates.json").write_text(json.dumps({"AutoSelectCertificateForUrls": [everywhere]}))
    wrapper = folder / "chromium-of-a-user"
    wrapper.write_text(_WRAPPER.format(policies=policies, place=POLICIES, home=home, program=PROGRAM))
    wrapper.chmod(0o755)
    with chromium(str(wrapper)) as browser:
        yield browser


def _import(database: Path, site: Site, who: str) -> None:
    """Put a certificate with its key, and the authority, into a new database of NSS."""
    database.mkdir(parents=True)
    certificate, key = site.certificate(who)
    bundle = database / "user.p12"
    named = f"sql:{database}"
    for command in (
        ["certutil", "-N", "-d", named, "--empty-password"],
        ["certutil", "-A", "-d", named, "-n", "authority", "-t", "C,,", "-i", str(site.authority)],
        ["openssl", "pkcs12", "-export", "-in", str(certificate), "-inkey", str(key), "-out", str(bundle),
         "-passout", "pass:"],
        ["pk12util", "-i", str(bundle), "-d", named, "-W", "", "-K", ""],
    ):  # fmt: skip
        subprocess.run(command, check=True, capture_output=True, timeout=60)
    bundle.unlink()


def until(found: Callable[[], Any], what: str) -> Any:
    """What is found, as soon as it is."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if value := found():
            return value
        time.sleep(0.05)
    raise AssertionError(f"there is no {what}")


def text(browser: webdriver.Chrome, selector: str) -> str:
    """The text of the first element like that; empty where there is none."""
    script = "return document.querySelector(arguments[0])?.textContent ?? ''"
    return str(browser.execute_script(script, selector))
