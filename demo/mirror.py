"""Where this host's own apt gets Debian from, asked at run time: no mirror is named in this project."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import NamedTuple

from demo.site import SAMPLE, read_sample

SUITE = "bookworm"
_FIELDS = "$(ORIGIN)|$(CODENAME)|$(RELEASE)|$(COMPONENT)|$(SITE)|$(REPO_URI)|$(SIGNED_BY)"
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


class Repository(NamedTuple):
    """One line of a sources list."""

    uri: str
    suite: str
    component: str

    def of(self, suite: str) -> Repository:
        """The same of another release."""
        return self._replace(suite=self.suite.replace(SUITE, suite))

    def __str__(self) -> str:
        """The line, in the one-line style of sources.list(5)."""
        return f"deb [signed-by={_KEYRING}] {self.uri} {self.suite} {self.component}"


def repositories() -> list[Repository]:
    """Debian's own repositories for `SUITE` that apt is configured with; raises SystemExit where there are none."""
    command = ["apt-get", "indextargets", "--format", _FIELDS, "Created-By: Packages"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = {
        Repository(uri, suite, component)
        for origin, _, suite, component, _, uri, _ in (line.split("|") for line in output.splitlines())
        if origin == "Debian" and component == "main" and suite.split("-")[0] == SUITE
    }
    if not found:
        raise SystemExit(f"apt knows no Debian repository for {SUITE}: add one to its sources and run apt-get update")
    return sorted(found, key=lambda repository: repository.suite)


def apt_options() -> list[str]:
    """mmdebstrap options that hand on the proxy which the host's apt uses, if it does."""
    command = ["apt-config", "dump", "--format", "%f=%v%n", "Acquire::http::Proxy"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    pairs = (line.partition("=") for line in output.splitlines())
    return [f'--aptopt={name} "{value}"' for name, _, value in pairs if value]


def bootstrap_command(sources: Path, sample: Path = SAMPLE) -> list[str]:
    """The mmdebstrap command of a sample configuration, with this host's mirror in place of Debian's.

    Writes the sources list that it reads to ``sources``.
    """
    (stream,) = read_sample(sample)["BootstrapStreams"].values()
    program, *options, suite, target = stream["BootstrapCommand"]
    sources.write_text("".join(f"{repository.of(suite)}\n" for repository in repositories()))
    return [program, "--quiet", *options, *apt_options(), suite, target, str(sources)]
