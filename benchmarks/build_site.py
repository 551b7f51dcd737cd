"""A daemon whose bootstrap fills a tree in no time, for figures about whole builds."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from demo.daemon import Daemon
from demo.site import ARCH, BASE_STREAM, Site
from imaginator.rpc.client import Client, Credentials
from tests.support.base_tree import base_tar, unpack_command

ONE_FILE = {"files/etc/one-file": "nothing yet", "manifest": f'{{"SourceImage": "{BASE_STREAM}"}}'}


def stream_of(manifest: str) -> str:
    """The stream that is built from a manifest."""
    return f"bench/{manifest}/{ARCH}"


STREAM = stream_of("one-file")


class BuildSite:
    """A context: a daemon with a bootstrap stream of this command, and a stream whose manifest is one file.

    ``packager`` replaces the sample's; ``manifests`` are more streams, each with its files (path → text), all of which
    are rebuilt automatically where ``rebuilt`` says so, and ``flags`` the daemon's. ``certificates`` are another
    site's, in place of new ones.
    """

    def __init__(
        self,
        folder: Path,
        bootstrap: Sequence[str],
        packager: Mapping[str, object] | None = None,
        manifests: Mapping[str, Mapping[str, str]] = {},
        flags: Sequence[str] = (),
        rebuilt: bool = False,
        certificates: Path | None = None,
    ) -> None:
        self.site = Site(folder / "site")
        self.daemon = Daemon(self.site, *flags)
        self._bootstrap = bootstrap
        self._packager = packager
        self._manifests = {"one-file": ONE_FILE, **manifests}
        self._rebuilt = rebuilt
        self._certificates = certificates

    def __enter__(self) -> Self:
        folder = self.site.folder.parent / "manifests"
        for name, files in self._manifests.items():
            for path, text in files.items():
                (folder / name / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / name / path).write_text(text)
        if self._certificates is None:
            self.site.make_certificates()
        else:
            shutil.copytree(self._certificates, self.site.certificates)
        self.site.make_repository(folder)
        streams = {stream_of(name): self.site.stream(name) for name in self._manifests}
        listed = {"ImageStreamsToAutoRebuild": list(streams)} if self._rebuilt else {}
        self.site.configure({BASE_STREAM: self._bootstrap}, streams, self._packager, **listed)
        self.daemon.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.daemon.stop()

    def client(self) -> Client:
        """A client with full access."""
        certificate, key = self.site.certificate("user")
        return Client("127.0.0.1", self.daemon.port, Credentials(certificate, key, self.site.authority))

    def write_file(self, text: str) -> None:
        """Change the manifest's one file, and commit it."""
        (self.site.repository / "one-file" / "files" / "etc" / "one-file").write_text(text)
        self.site.commit("another text")

    def build(self, client: Client, stream: str) -> dict[str, Any]:
        """Build a stream and return the finished build's record."""
        answer = client.call("Imaginator.BuildImage", StreamName=stream, ExpiresIn=3600, MaxSourceAge=86400)
        record: dict[str, Any] = client.call("Imaginator.GetBuild", BuildId=answer["BuildId"])
        return record

    def peak_memory(self) -> float:
        """The most memory that the daemon has had since it started or since this was asked last, in MB."""
        status = Path(f"/proc/{self.daemon.pid}/status").read_text().splitlines()
        (line,) = (line for line in status if line.startswith("VmHWM:"))
        Path(f"/proc/{self.daemon.pid}/clear_refs").write_text("5")  # proc(5): forget the peak
        return int(line.split()[1]) / 1000


class DebianSite(BuildSite):
    """One whose bootstrap unpacks a cached Debian."""

    def __init__(
        self,
        folder: Path,
        manifests: Mapping[str, Mapping[str, str]] = {},
        flags: Sequence[str] = (),
        certificates: Path | None = None,
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.tar = base_tar(folder)
        super().__init__(folder, unpack_command(self.tar), manifests=manifests, flags=flags, certificates=certificates)

    def unpack(self, folder: Path) -> Path:
        """A plain copy of the tree."""
        folder.mkdir()
        argv = [word.replace("$dir", str(folder)) for word in unpack_command(self.tar)]
        subprocess.run(argv, check=True)
        return folder


def size_of(tar: Path) -> str:
    """How many files and bytes the tree has, for people."""
    with tarfile.open(tar) as archive:
        members = archive.getmembers()
    return f"{len(members)} files, {sum(member.size for member in members) / 1e6:.0f} MB"
