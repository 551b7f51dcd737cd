"""What commands of a build get to see: their environment variables and the host's name servers."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping

from imaginator.build.job import Job
from imaginator.model.streams import Stream
from imaginator.model.variables import stream_variables

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

FIXED = {"HOME": "/", "LOGNAME": "root", "USER": "root", "PATH": PATH}
"""What no stream and no request can change."""


def job_variables(job: Job) -> dict[str, str]:
    """The variables of a build without its secrets: the stream's own, then the request's that are not empty."""
    own = job.definition.variables if isinstance(job.definition, Stream) else {}
    asked = {name: value for name, value in job.request.variables.items() if value}
    return {**stream_variables(job.stream_name, job.arch, own), **asked}


def build_environment(job: Job, commit: str) -> dict[str, str]:
    """The environment of every command of a build whose manifest is of ``commit`` (empty: none)."""
    environment = {**job_variables(job), "MANIFEST_GIT_COMMIT_ID": commit, **FIXED}
    environment.pop("REQUESTED_GIT_BRANCH", None)
    if job.request.git_branch:
        environment["REQUESTED_GIT_BRANCH"] = job.request.git_branch
    if "TZ" in os.environ:
        environment["TZ"] = os.environ["TZ"]
    return environment


def shown_secrets(secrets: Mapping[str, str]) -> dict[str, str]:
    """Stand-ins for secrets in what people see: each is its own name."""
    return {name: f"${name}" for name in secrets}


def resolver_configuration(host: str, upstream: str) -> bytes:
    """The ``resolv.conf`` of a build: the host's, or ``upstream`` where all of the host's servers are itself.

    ``upstream`` is the file in which systemd-resolved tells its own servers; empty where there is none.
    """
    if upstream and not _far_servers(host):
        return upstream.encode()
    return host.encode()


def _far_servers(text: str) -> list[str]:
    """The name servers on other machines (resolv.conf(5))."""
    words = (line.split() for line in text.splitlines())
    servers = (line[1] for line in words if len(line) > 1 and line[0] == "nameserver")
    return [server for server in servers if not _is_loopback(server)]


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False
