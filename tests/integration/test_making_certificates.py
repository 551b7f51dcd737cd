"""Certificates that the tool makes: a daemon and its callers work with them, and nothing is ever overwritten."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from demo.daemon import Daemon
from demo.site import Site
from tests.support.small_system import SMALL_PACKAGER, small_bootstrap

pytestmark = pytest.mark.integration

TOOL = Path(sys.executable).with_name("builder-tool")
FIRST = {"CA.pem", "CA.key", "imaginator/cert.pem", "imaginator/key.pem"}


class Made(Site):
    """A site whose certificates are the tool's."""

    def certificate(self, who: str) -> tuple[Path, Path]:
        """As the tool calls them."""
        if who == "imaginator":
            return self.certificates / "imaginator" / "cert.pem", self.certificates / "imaginator" / "key.pem"
        return self.certificates / f"{who}.cert", self.certificates / f"{who}.key"


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the tool."""
    return subprocess.run([TOOL, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False)


def make(folder: Path, *arguments: str) -> set[str]:
    """Make certificates; the names of the files that were made."""
    said = run("make-certificates", folder, *arguments, "--json")
    assert 0 == said.returncode, said.stderr
    return {str(Path(name).relative_to(folder)) for name in json.loads(said.stdout)}


def state(folder: Path) -> dict[str, tuple[bytes, int]]:
    """What every file holds, and its mode."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), stat.S_IMODE(path.stat().st_mode))
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_daemon_and_its_callers(tmp_path: Path) -> None:
    """Who has the methods may call them, who is a builder's group may build, and who has neither may read."""
    site = Made(tmp_path)
    made = make(site.certificates, "--user", "root", "--method", "Imaginator.*", "--method", "ImageServer.*")
    make(site.certificates, "--user", "ann", "--group", "builders", "--group", "others")
    make(site.certificates, "--user", "bob")
    (tmp_path / "manifests" / "over").mkdir(parents=True)
    (tmp_path / "manifests" / "over" / "manifest").write_text('{"SourceImage": "small"}')
    site.make_repository(tmp_path / "manifests")
    stream = site.stream("over", BuilderGroups=["builders"])
    site.configure({"small": small_bootstrap(tmp_path)}, {"over": stream}, SMALL_PACKAGER)
    daemon = Daemon(site)
    daemon.start()

    def call(who: str, *arguments: str, host: str = "localhost") -> subprocess.CompletedProcess[str]:
        certificate, key = site.certificate(who)
        place = ("--imaginator-hostname", host, "--imaginator-port", daemon.port, "--ca-file", site.authority)
        return run(*place, "--cert-file", certificate, "--key-file", key, *arguments)

    try:
        boot = call("root", "build-image", "small")
        over = call("ann", "build-image", "over", host="127.0.0.1")
        denied = call("bob", "build-image", "over")
        listed = call("bob", "list-images")
    finally:
        daemon.stop()

    assert {*FIRST, "root.cert", "root.key"} == made
    assert 0 == boot.returncode, boot.stderr
    assert 0 == over.returncode, over.stderr
    assert (1, True) == (denied.returncode, "no permission to build: over" in denied.stderr)
    assert 0 == listed.returncode
    assert over.stdout.strip() in listed.stdout


def test_keys_are_private(tmp_path: Path) -> None:
    """Whatever the umask: keys are for their owner alone, certificates for everybody."""
    made = make(tmp_path, "--user", "ann")
    modes = {name: mode for name, (_, mode) in state(tmp_path).items()}

    assert made == set(modes)
    assert {name: 0o600 if "key" in name else 0o644 for name in made} == modes


def test_more_users(tmp_path: Path) -> None:
    """The authority and the daemon's certificate stay as they are."""
    make(tmp_path, "--user", "ann")
    before = state(tmp_path)
    made = make(tmp_path, "--user", "bob")

    assert {"bob.cert", "bob.key"} == made
    assert before == {name: found for name, found in state(tmp_path).items() if name not in made}


@pytest.mark.parametrize("left", ["ann.cert", "ann.key"])
def test_nothing_is_overwritten(tmp_path: Path, left: str) -> None:
    """A user's file that is there is an error that names it, and all stays as it was."""
    make(tmp_path, "--user", "ann")
    for name in {"ann.cert", "ann.key"} - {left}:
        (tmp_path / name).unlink()
    before = state(tmp_path)
    said = run("make-certificates", tmp_path, "--user", "ann")

    assert (1, f"Error: {tmp_path}/{left}: is there already, and nothing is overwritten\n") == (
        said.returncode,
        said.stderr,
    )
    assert before == state(tmp_path)


def test_an_authority_without_its_key(tmp_path: Path) -> None:
    """It cannot sign: the sentence names the file that is missing."""
    make(tmp_path, "--user", "ann")
    (tmp_path / "CA.key").unlink()
    before = state(tmp_path)
    said = run("make-certificates", tmp_path, "--user", "bob")

    assert 1 == said.returncode
    assert f"Error: {tmp_path}/CA.key: no such file" in said.stderr
    assert before == state(tmp_path)


@pytest.mark.parametrize("user", ["../ann", "a/b", "-x", "", "CA\n"])
def test_a_name_that_no_file_can_have(tmp_path: Path, user: str) -> None:
    """It is refused, and no user's file is made."""
    said = run("make-certificates", tmp_path, f"--user={user}")

    assert 1 == said.returncode
    assert "Error: user " in said.stderr
    assert set(state(tmp_path)) <= FIRST
