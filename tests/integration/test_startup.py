"""Started without what it needs, the daemon says which in one plain line and exits non-zero."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from demo.daemon import ENDED_WELL, Daemon
from demo.site import Site
from tests.integration.conftest import new_site
from tests.support.small_system import SMALL_PACKAGER, small_bootstrap

pytestmark = pytest.mark.integration


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A site that works as it is."""
    site = new_site(tmp_path / "site")
    site.configure({"small": small_bootstrap(site.folder)}, {}, SMALL_PACKAGER)
    return site


def start(site: Site, *flags: str, program: str = "imaginator", **environment: str) -> str:
    """Start the daemon, which must end by itself with a failure; the line that it says on standard error."""
    argv = [str(Path(sys.executable).with_name(program)), *site.daemon_flags(), *flags]
    result = subprocess.run(
        argv, capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **environment}
    )
    lines = result.stderr.strip().splitlines()
    assert 0 != result.returncode
    assert 1 == len(lines), result.stderr
    assert "Traceback" not in result.stdout
    return lines[0]


def test_port_in_use(site: Site) -> None:
    """Another program has the port."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])

        line = start(site, "--port", port)

    assert port in line


def test_malformed_key(site: Site) -> None:
    """The key file is there but is no key."""
    key = site.certificate("imaginator")[1]
    key.write_text("not a key")

    assert str(key) in start(site)


def test_malformed_authority(site: Site) -> None:
    """The CA file is there but holds no certificate."""
    site.authority.write_text("not a certificate")

    assert str(site.authority) in start(site)


@pytest.mark.parametrize("content", [None, "", "not a list"], ids=["absent", "empty", "malformed"])
def test_no_list_of_revoked_certificates(site: Site, content: str | None) -> None:
    """A list that is asked for is needed: without one nobody knew who is refused."""
    revocations = site.folder / "crl.pem"
    if content is not None:
        revocations.write_text(content)

    assert str(revocations) in start(site, "--crl-file", str(revocations))


def test_pages_for_somebody_else(site: Site) -> None:
    """The sentence names the flag and what it may be."""
    line = start(site, "--pages", "private")

    assert "--pages: 'private': expected public or identity" in line


def test_malformed_main_configuration(site: Site) -> None:
    """The sentence has line and column."""
    site.configuration.write_text('{\n  "BootstrapStreams": ?\n}')

    assert "line 2" in start(site)


def test_unknown_packager_type(site: Site) -> None:
    """The stream and the type are named."""
    site.configuration.write_text(
        '{"BootstrapStreams": {"x": {"BootstrapCommand": ["true"], "PackagerType": "portage"}}}'
    )

    line = start(site)

    assert "portage" in line


def test_unknown_flag(site: Site) -> None:
    """A flag that does not exist is named."""
    assert "no-such-flag" in start(site, "--no-such-flag=1")


def test_malformed_duration(site: Site) -> None:
    """A flag's value that is no duration is named with the flag."""
    line = start(site, "--image-rebuild-interval", "soon")

    assert "image-rebuild-interval" in line
    assert "soon" in line


def test_no_git(site: Site, tmp_path: Path) -> None:
    """Without git the daemon says so."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("setpriv", "setsid", "sh"):
        (programs / name).symlink_to(f"/usr/bin/{name}")

    assert "git" in start(site, PATH=str(programs))


def test_its_starter_is_told(site: Site, tmp_path: Path) -> None:
    """When it is ready, and when it ends."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.settimeout(60)
        daemon = Daemon(site, NOTIFY_SOCKET=str(tmp_path / "notify"))
        daemon.start()
        heard = [receiver.recv(100)]
        daemon.stop()
        while heard[-1] != b"STOPPING=1":
            heard.append(receiver.recv(100))

    assert [b"READY=1", b"STOPPING=1"] == heard


def test_a_sandbox_that_cannot_be_made(site: Site) -> None:
    """The kernel's reason, or that of the program which failed."""
    assert "no sandbox: " in start(site, "--build-inodes", str(10**10))


def test_not_root(site: Site) -> None:
    """Another user than root is told at once."""
    argv = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", sys.executable, "-c", "pass"]
    if subprocess.run(argv, capture_output=True, check=False).returncode:
        pytest.skip("another user cannot run this interpreter: it lies in root's home folder")
    program = str(Path(sys.executable).with_name("imaginator"))
    result = subprocess.run([*argv[:4], program], capture_output=True, text=True, check=False)

    assert 0 != result.returncode
    assert "root" in result.stderr


def test_state_directory_in_use(site: Site) -> None:
    """A second daemon on the same state directory is refused, and the first one goes on."""
    daemon = Daemon(site)
    daemon.start()
    try:
        line = start(site)
        health = urllib.request.urlopen(daemon.url + "healthz").read()
    finally:
        daemon.stop()

    assert str(site.state) in line
    assert b"ok" == health.strip()


def test_absent_certificates_close_rpc_alone(site: Site) -> None:
    """Without certificate files plain pages work, and say why RPC is closed."""
    for path in site.certificates.iterdir():
        path.unlink()
    daemon = Daemon(site)
    daemon.start()
    try:
        page = urllib.request.urlopen(daemon.url).read().decode()
    finally:
        status = daemon.stop()

    assert str(site.authority) in page
    assert ENDED_WELL == status


def test_sigterm_ends_it_well(site: Site) -> None:
    """The exit status is zero and the log names the image store in one line."""
    daemon = Daemon(site)
    daemon.start()
    status = daemon.stop()

    assert ENDED_WELL == status
    assert 1 == sum("embedded" in line for line in daemon.log.read_text().splitlines())
