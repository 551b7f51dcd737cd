"""A daemon of a site: started, waited for, stopped."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from demo.site import Site

ENDED_WELL = -signal.SIGTERM
"""The exit status after SIGTERM: twistd ends by the signal once its services have stopped."""

_LISTENING = re.compile(r"listening on port (\d+)")
_START_SECONDS = 30.0
_STOP_SECONDS = 15.0


class DaemonFailed(Exception):
    """The daemon ended instead of listening; the text is what it said."""


class Daemon:
    """``twistd imaginator`` in a session of its own; what it says goes to ``twistd.log`` in the site's folder.

    Its environment is this process's with the variables that are given.
    """

    def __init__(self, site: Site, *flags: str, **environment: str) -> None:
        self.site = site
        self.log = site.folder / "twistd.log"
        self._flags = flags
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def pid(self) -> int:
        """The daemon's process."""
        assert self._process is not None
        return self._process.pid

    @property
    def url(self) -> str:
        """The address of the status page."""
        return f"http://127.0.0.1:{self.port}/"

    def start(self) -> None:
        """Start, and wait until it listens; raises `DaemonFailed` with its words when it ends instead."""
        twistd = Path(sys.executable).with_name("twistd")
        argv = [
            str(twistd),
            "--nodaemon",
            "--pidfile=",
            "imaginator",
            *self.site.daemon_flags(),
            *self._flags,
        ]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                argv,
                env={**os.environ, **self._environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                umask=0o022,
            )
        self.port = self._wait_for_port()

    def _wait_for_port(self) -> int:
        assert self._process is not None
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            said = self.log.read_text(errors="replace")
            if found := _LISTENING.search(said):
                return int(found.group(1))
            if self._process.poll() is not None:
                raise DaemonFailed(said.strip())
            time.sleep(0.02)
        self.kill()
        raise DaemonFailed(f"not listening after {_START_SECONDS:.0f} s")

    def stop(self) -> int:
        """SIGTERM, and wait for the end; the exit status."""
        return self._end(signal.SIGTERM)

    def kill(self) -> int:
        """SIGKILL, as a crash would."""
        return self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> int:
        if self._process is None:
            return 0
        if self._process.poll() is None:
            os.kill(self._process.pid, number)
        return self._process.wait(_STOP_SECONDS)

    def leave_running(self) -> int:
        """Let go of the daemon, which stays; its process id."""
        pid, self._process = self.pid, None
        return pid
