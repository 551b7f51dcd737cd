"""Real Git servers on loopback: `git http-backend` behind Twisted, `git daemon`, sshd.

Run as a program, it serves the folder that it is given over HTTP, with the password that its environment has.
"""

from __future__ import annotations

import base64
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from twisted.internet.endpoints import TCP4ServerEndpoint, serverFromString
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import react
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request, Site
from twisted.web.twcgi import CGIScript

from imaginator.rpc.certificates import make_authority, make_certificate
from imaginator.service.credentials import Files, read_credentials
from imaginator.service.tls import ServerSide
from tests.support.ports import free_port
from tests.support.real_reactor import reactor

BACKEND = Path("/usr/lib/git-core/git-http-backend")
PASSWORD = "GIT_SERVER_PASSWORD"
Look = Callable[[], None]


class Backend(CGIScript):
    """Git's own HTTP server for the repositories below ``root``; the URL's part after ``/at/`` is a path below it.

    With ``password``, user and password have to be it. ``look`` is called at each request, whose lines are ``asked``;
    ``old`` hides that clients speak version 2.
    """

    def __init__(self, root: Path, password: str = "", look: Look = lambda: None, old: bool = False) -> None:
        super().__init__(str(BACKEND))
        self.root = root
        self.password = password
        self.look = look
        self.old = old
        self.asked: list[str] = []

    def getChild(self, _path: bytes, _request: Request) -> Resource:  # noqa: N802
        """Everything is one program's."""
        return self

    def render(self, request: Request) -> Any:
        """Ask for the password, then run the program."""
        self.look()
        self.asked.append(f"{request.method.decode()} {request.uri.decode()}")
        if self.password and request.getHeader(b"authorization") != basic(self.password):
            request.setResponseCode(401)
            request.setHeader(b"www-authenticate", b'Basic realm="git"')
            return b""
        request.postpath = []
        return super().render(request)

    def runProcess(self, env: dict[Any, Any], request: Request, qargs: list[str] | None = None) -> None:  # noqa: N802
        """Serve the repository whose path follows ``/at/``."""
        path = "/" + request.path.decode().partition("/at/")[2]
        own = {"GIT_PROJECT_ROOT": str(self.root), "GIT_HTTP_EXPORT_ALL": "1", "PATH": os.environ["PATH"]}
        if self.old:
            env.pop(b"HTTP_GIT_PROTOCOL", None)
        super().runProcess({**env, **own, "PATH_INFO": path}, request, qargs or [])


def basic(password: str) -> bytes:
    """What a client sends whose user and password are both ``password``."""
    return b"Basic " + base64.b64encode(f"{password}:{password}".encode())


@asynccontextmanager
async def served(resource: IResource) -> AsyncIterator[str]:
    """A real HTTP server on a free port; its host and port."""
    port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(Site(resource))
    try:
        yield f"127.0.0.1:{port.getHost().port}"
    finally:
        await port.stopListening()


@asynccontextmanager
async def served_by_tls(resource: IResource, folder: Path) -> AsyncIterator[str]:
    """The same over TLS, with a certificate of an authority that is made in ``folder`` as ``ca.pem``."""
    authority = make_authority("authority")
    authority.write(folder / "ca.pem", None)
    make_certificate(authority, "localhost", server=True).write(folder / "cert.pem", folder / "key.pem")
    files = Files(folder / "ca.pem", folder / "cert.pem", folder / "key.pem")
    context = ServerSide(read_credentials(files))
    port = reactor.listenSSL(0, Site(resource), context, interface="127.0.0.1")
    try:
        yield f"localhost:{port.getHost().port}"
    finally:
        await port.stopListening()


class Rude(Protocol):
    """Resets every connection as soon as something is asked, or never says a word."""

    resets = True
    heard: int = 0

    def dataReceived(self, _data: bytes) -> None:  # noqa: N802
        """End the connection, or do nothing."""
        type(self).heard += 1
        transport: Any = self.transport
        if self.resets:
            transport.abortConnection()


@asynccontextmanager
async def rude(resets: bool) -> AsyncIterator[str]:
    """A server that resets its connections or hangs; its host and port."""
    kind = type("Kind", (Rude,), {"resets": resets})
    port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(Factory.forProtocol(kind))
    try:
        yield f"127.0.0.1:{port.getHost().port}"
    finally:
        await port.stopListening()


@contextmanager
def running(*command: str, port: int) -> Iterator[None]:
    """A server program in the foreground, until it listens and to the end of the context."""
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE)
    try:
        while not listens(port):
            assert process.poll() is None, process.stderr and process.stderr.read()
            time.sleep(0.01)
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.communicate()


def listens(port: int) -> bool:
    """Whether somebody listens on a port of loopback."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def git_daemon(root: Path) -> Iterator[str]:
    """`git daemon` for all below ``root``; its host and port."""
    port = free_port()
    options = ("--reuseaddr", "--export-all", f"--base-path={root}", "--listen=127.0.0.1", f"--port={port}")
    with running("git", "daemon", *options, port=port):
        yield f"127.0.0.1:{port}"


class SshServer:
    """A real sshd for this user with keys of its own; ``command`` is what to have Git run instead of ``ssh``."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700)
        self.folder = folder
        self.port = free_port()
        for name in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
        host = (folder / "host.pub").read_text()
        (folder / "known").write_text(f"[127.0.0.1]:{self.port} {host}elsewhere {host}")
        lines = [
            f"HostKey {folder}/host", "ListenAddress 127.0.0.1", f"Port {self.port}", "PidFile none", "UsePAM no",
            f"AuthorizedKeysFile {folder}/user.pub", "StrictModes no", "PermitRootLogin yes", "AcceptEnv GIT_PROTOCOL",
        ]  # fmt: skip
        (folder / "sshd").write_text("\n".join(lines) + "\n")
        lines = [
            "Host elsewhere", "HostName 127.0.0.1", "HostKeyAlias elsewhere", f"Port {self.port}", "Host *",
            f"IdentityFile {folder}/user", "IdentitiesOnly yes", f"UserKnownHostsFile {folder}/known",
        ]  # fmt: skip
        (folder / "ssh").write_text("\n".join(lines) + "\n")
        self.command = f"ssh -F {folder}/ssh"

    @contextmanager
    def run(self) -> Iterator[None]:
        """Serve."""
        # Where its service does not run, nobody has made it; other tests' servers may be using it, so it stays.
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        sshd = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
        assert sshd
        with running(sshd, "-D", "-e", "-f", f"{self.folder}/sshd", port=self.port):
            yield


@contextmanager
def serving(root: Path, password: str = "") -> Iterator[str]:
    """The repositories below ``root`` served by a process of their own; its host and port."""
    command = [sys.executable, "-m", "tests.support.git_server", str(root)]
    environment = {**os.environ, PASSWORD: password}
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdout
        yield f"127.0.0.1:{int(server.stdout.readline())}"


async def main(reactor: Any, root: str) -> None:
    """Serve the repositories below ``root`` until standard input ends, and print the port."""
    backend = Backend(Path(root), os.environ.get(PASSWORD, ""))
    port = await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(Site(backend))
    print(port.getHost().port, flush=True)
    from twisted.internet.threads import deferToThread

    await deferToThread(sys.stdin.read)


if __name__ == "__main__":
    from twisted.internet.defer import ensureDeferred

    react(lambda reactor, root: ensureDeferred(main(reactor, root)), sys.argv[1:])
