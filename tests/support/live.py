"""A running daemon with its site, as tests drive it: over TLS with the program's own synchronous client."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from demo.daemon import ENDED_WELL, Daemon
from demo.site import Site
from imaginator.rpc.client import Client, Credentials

PROVING = ("--verify-builds", "on")
"""Flags of every test's daemon: each of its builds proves itself."""


class Live:
    """A daemon and its site; ``close`` stops it and checks that nothing is left."""

    def __init__(self, site: Site, daemon: Daemon) -> None:
        self.site = site
        self.daemon = daemon
        self.bootstraps: dict[str, list[str]] = {}
        self._streams: dict[str, object] = {}

    def client(self, who: str = "user") -> Client:
        """A client with the certificate of ``who``."""
        certificate, key = self.site.certificate(who)
        return Client("127.0.0.1", self.daemon.port, Credentials(certificate, key, self.site.authority))

    def call(self, method: str, **parameters: Any) -> Any:
        """One call as the user with full access."""
        with self.client() as client:
            return client.call(method, **parameters)

    def build(self, stream: str, **parameters: Any) -> dict[str, Any]:
        """Build a stream; the finished build's record. Raises ``RpcError`` when it fails."""
        wanted = {"ExpiresIn": 3600, "MaxSourceAge": 86400, **parameters}
        answer = self.call("Imaginator.BuildImage", StreamName=stream, **wanted)
        record: dict[str, Any] = self.call("Imaginator.GetBuild", BuildId=answer["BuildId"])
        return record

    def add_stream(self, name: str, files: Mapping[str, str], **definition: object) -> str:
        """Commit a manifest (path → text; what begins with ``#!`` is executable) as a stream."""
        directory = self.site.repository / name
        shutil.rmtree(directory, ignore_errors=True)
        for path, text in files.items():
            target = directory / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
            target.chmod(0o755 if text.startswith("#!") else 0o644)
        self.site.commit(f"manifest {name}")
        self._streams[name] = self.site.stream(name, **definition)
        self.site.write_streams(self._streams)
        return name

    def log(self, build_id: str) -> str:
        """The build's log so far."""
        with self.client() as client, client.stream(f"/showBuildLog?{build_id}") as body:
            return body.read().decode(errors="replace")

    def images(self, stream: str = "") -> list[str]:
        """The names of the images of a stream, or of all."""
        return [image["Name"] for image in self.call("ImageServer.ListImages", Prefix=stream)["Images"]]

    def tool(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run ``builder-tool`` against the daemon."""
        command = self.tool_command(*arguments)
        return subprocess.run(command, capture_output=True, text=True, check=check, timeout=300)

    def tool_command(self, *arguments: str, who: str = "user") -> list[str]:
        """The command line of ``builder-tool`` for the daemon, with the certificate of ``who``."""
        certificate, key = self.site.certificate(who)
        return [
            str(Path(sys.executable).with_name("builder-tool")),
            "--imaginator-hostname", "127.0.0.1",
            "--imaginator-port", str(self.daemon.port),
            "--ca-file", str(self.site.authority),
            "--cert-file", str(certificate),
            "--key-file", str(key),
            *arguments,
        ]  # fmt: skip

    def close(self) -> None:
        """Stop the daemon; it must end well and leave nothing."""
        status = self.daemon.stop()
        left = leftovers(self.site)
        assert (ENDED_WELL, []) == (status, left), self.daemon.log.read_text(errors="replace")[-5000:]


def leftovers(site: Site) -> list[str]:
    """What builds left behind: workspaces, processes that see the state directory, mounts below it."""
    workspaces = [str(path) for path in (site.state / "builds").glob("*")]
    return workspaces + [f"{pid}: {command}" for pid, command in processes() if uses(pid, site)]


def processes() -> Iterator[tuple[int, str]]:
    """Every process but this one, with its command line."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != threading.get_native_id():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            yield int(entry.name), command


def uses(pid: int, site: Site) -> bool:
    """Whether a process has a mount of the site's in its namespace, or works below its state directory."""
    state = str(site.state.resolve())
    try:
        mounts = Path(f"/proc/{pid}/mountinfo").read_text(errors="replace")
        directory = str(Path(f"/proc/{pid}/cwd").readlink())
    except OSError:
        return False
    places = [str((site.state / name).resolve()) for name in ("builds", "layers", "kept")]
    return any(place in mounts for place in places) or directory.startswith(state)
