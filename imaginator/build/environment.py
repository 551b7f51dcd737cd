"""What commands of a build get to see: their environment variables and their name server."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from imaginator.build.job import Job
from imaginator.model.streams import Stream
from imaginator.model.variables import references, stream_variables
from imaginator.sandbox.firewall import NAME_SERVER_IPV4, NAME_SERVER_IPV6

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
    return environment_of(job_variables(job), commit, fixed_variables(), job.request.git_branch)


def fixed_variables() -> dict[str, str]:
    """What no stream and no request can change, the daemon's time zone included."""
    return {**FIXED, "TZ": os.environ["TZ"]} if "TZ" in os.environ else FIXED


def environment_of(
    variables: Mapping[str, str], commit: str, fixed: Mapping[str, str], branch: str = ""
) -> dict[str, str]:
    """The environment that a build's variables make, where its manifest is of ``commit``, asked for as ``branch``."""
    environment = {**variables, "MANIFEST_GIT_COMMIT_ID": commit, **fixed}
    environment.pop("REQUESTED_GIT_BRANCH", None)
    if branch:
        environment["REQUESTED_GIT_BRANCH"] = branch
    return environment


def bootstrap_environment(job: Job, command: Sequence[str]) -> dict[str, str]:
    """The environment of a bootstrap's command, which is the host's root.

    Variables that somebody without full access chose are in it only where the command itself uses them: others, such
    as PERL5OPT, would let programs of the host do as they say.
    """
    environment = build_environment(job, "")
    if job.privileged:
        return environment
    used = {name for word in command for name in references(word)}
    kept = {*stream_variables(job.stream_name, job.arch, {}), *FIXED, "REQUESTED_GIT_BRANCH", "MANIFEST_GIT_COMMIT_ID"}
    foreign = {name for name in job.request.variables if name not in used and name not in kept}
    return {name: value for name, value in environment.items() if name not in foreign}


def shown_secrets(secrets: Mapping[str, str]) -> dict[str, str]:
    """Stand-ins for secrets in what people see: each is its own name."""
    return {name: f"${name}" for name in secrets}


def resolver_configuration(host: str) -> bytes:
    """The ``resolv.conf`` of a build: the network's own name server in place of the host's, which it asks.

    Those may be where no build gets, such as the host's loopback. All other lines, such as ``search``, are kept.
    """
    lines = [line for line in host.splitlines() if line.split()[:1] != ["nameserver"]]
    servers = [words[1] for words in map(str.split, host.splitlines()) if words[:1] == ["nameserver"] and words[1:]]
    ours = NAME_SERVER_IPV6 if servers and all(":" in server for server in servers) else NAME_SERVER_IPV4
    return "".join(f"{line}\n" for line in (f"nameserver {ours}", *lines)).encode()
