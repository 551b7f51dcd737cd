"""What a repository says that it has: how its answer is read, and what is told where it has not what was asked for."""

from __future__ import annotations

from imaginator.build.gitrun import Remote
from imaginator.model.errors import ConfigurationError
from imaginator.model.giturl import is_commit, is_short_commit


def full_names(branch: str) -> list[str]:
    """The full names that a branch may have, the most specific kind first; an annotated tag by its commit."""
    if not branch:
        return []
    return [f"refs/heads/{branch}", f"refs/tags/{branch}^{{}}", f"refs/tags/{branch}"]


def parse_references(output: bytes) -> tuple[dict[str, str], str]:
    """Full names with their commits, and the default branch, of ``git ls-remote --symref``."""
    offered, default = {}, ""
    for line in output.decode(errors="replace").splitlines():
        value, _, name = line.partition("\t")
        if is_commit(value):
            offered[name] = value
        elif name == "HEAD":
            default = value.removeprefix("ref: refs/heads/")
    return offered, default


def unknown(branch: str, default: str) -> str:
    """What is wrong with a branch that is not there, or with a repository that has no default one."""
    if not branch:
        return "no default branch: the repository is empty, or its HEAD names a branch that does not exist"
    hint = "; a commit is asked for by its full id" if is_short_commit(branch) else ""
    known = f"; the default branch is {default!r}" if default else ""
    return f"no branch, tag or commit {branch!r}{known}{hint}"


def explained(error: ConfigurationError, remote: Remote, commit: str) -> ConfigurationError:
    """Say plainly that a server has no such commit, or hands out only those that a branch or tag points at."""
    if "not our ref" in error.problem:
        return ConfigurationError(remote.shown, f"no commit {commit}")
    if "unadvertised object" in error.problem:
        problem = f"the server hands out no commit that no branch or tag points at, such as {commit}"
        return ConfigurationError(remote.shown, problem)
    return error
