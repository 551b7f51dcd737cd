"""A site: one folder with everything that a daemon and its callers need.

certificates/   CA.pem, imaginator.{pem,key} for the daemon, user.{pem,key} for a caller with full access
repository/     a Git repository of image manifests
conf.json, streams.json
state/, logs/   the daemon's own
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from imaginator.model.architectures import architecture
from imaginator.model.codec import parse_json
from imaginator.rpc.authority import OF_DAEMONS
from imaginator.rpc.certificates import Issued, make_authority, make_certificate

ARCH = architecture(platform.machine())
BASE_STREAM = f"bootstrap/Debian-12/{ARCH}"

SAMPLE = Path(__file__).parents[1] / "etc" / "conf.json"


def read_sample(path: Path = SAMPLE) -> dict[str, Any]:
    """A sample configuration as plain values; those that are used are thereby shown to work."""
    values: dict[str, Any] = parse_json(path.read_bytes(), str(path))
    return values


def deb_packager() -> dict[str, object]:
    """The packager type of the sample configuration."""
    packager: dict[str, object] = read_sample()["PackagerTypes"]["deb"]
    return packager


class Site:
    """The paths of a site in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.certificates = folder / "certificates"
        self.repository = folder / "repository"
        self.configuration = folder / "conf.json"
        self.streams = folder / "streams.json"
        self.state = folder / "state"
        self.logs = folder / "logs"

    @property
    def authority(self) -> Path:
        """The CA that signed every certificate of the site."""
        return self.certificates / "CA.pem"

    def certificate(self, who: str) -> tuple[Path, Path]:
        """The certificate and key of ``imaginator`` or ``user``."""
        return self.certificates / f"{who}.pem", self.certificates / f"{who}.key"

    def daemon_flags(self) -> list[str]:
        """The flags that make a daemon serve this site, on a free port of the loopback address, building when asked."""
        certificate, key = self.certificate("imaginator")
        return [
            "--configuration-url", self.configuration.as_uri(),
            "--state-dir", str(self.state),
            "--log-dir", str(self.logs),
            "--listen-address", "127.0.0.1",
            "--port", "0",
            "--image-rebuild-interval", "0",
            "--ca-file", str(self.authority),
            "--cert-file", str(certificate),
            "--key-file", str(key),
        ]  # fmt: skip

    def make_certificates(self) -> Issued:
        """Make the daemon's certificate, one for a user who may call every method, and their CA, which is returned."""
        self.certificates.mkdir(parents=True)
        authority = make_authority("imaginator demonstration")
        authority.write(self.authority, None)
        daemon = make_certificate(authority, "imaginator", methods=OF_DAEMONS, server=True)
        daemon.write(*self.certificate("imaginator"))
        make_certificate(authority, "user", methods=["Imaginator.*", "ImageServer.*"]).write(*self.certificate("user"))
        return authority

    def make_repository(self, manifests: Path) -> None:
        """Make the Git repository from a folder of manifests, one directory each."""
        shutil.copytree(manifests, self.repository, symlinks=True)
        self.git("init", "--quiet", "--initial-branch=main")
        self.commit("Image manifests")

    def commit(self, message: str) -> None:
        """Commit everything in the repository's folder."""
        self.git("add", "--all")
        who = ("-c", "user.name=demo", "-c", "user.email=demo@localhost")
        self.git(*who, "commit", "--quiet", "--allow-empty", "-m", message)

    def git(self, *arguments: str) -> None:
        """Run git in the repository, deaf to the configuration of whoever runs this."""
        environment = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
        subprocess.run(["git", *arguments], cwd=self.repository, env=environment, check=True)

    def configure(
        self,
        bootstraps: Mapping[str, Sequence[str]],
        streams: Mapping[str, object],
        packager: Mapping[str, object] | None = None,
        **more: object,
    ) -> None:
        """Write both configurations: bootstrap stream → command, image stream → its definition."""
        settings = {
            "BootstrapStreams": {
                name: {"BootstrapCommand": list(command), "PackagerType": "native"}
                for name, command in bootstraps.items()
            },
            "ImageStreamsUrl": self.streams.as_uri(),
            "PackagerTypes": {"native": packager or deb_packager()},
            **more,
        }
        self.write_streams(streams)
        replace(self.configuration, json.dumps(settings, indent=4))

    def write_streams(self, streams: Mapping[str, object]) -> None:
        """Write the streams configuration alone; a running daemon notices."""
        replace(self.streams, json.dumps({"Streams": dict(streams)}, indent=4))

    def stream(self, directory: str, **more: object) -> dict[str, object]:
        """The definition of a stream whose manifest is ``directory`` of the repository."""
        return {"ManifestUrl": self.repository.as_uri(), "ManifestDirectory": directory, **more}


def replace(path: Path, text: str) -> None:
    """Write a file in one step, so that a daemon that watches it never reads half of it."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.rename(path)
