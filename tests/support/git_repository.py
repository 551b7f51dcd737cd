"""A Git repository made by Git itself, by hand where Git would refuse, and locations in it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from imaginator.build.sources import SourceLocation


class Repository:
    """A Git repository whose default branch is `trunk`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()
        self.git("init", "--quiet", "--initial-branch=trunk")
        self.first = self.commit({"one/manifest": "{}", "one/run": "#!/bin/sh\n", "note": "n"})

    def git(self, *arguments: str) -> str:
        """The output of a Git command."""
        environment = {"PATH": os.environ["PATH"], "HOME": "/", "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}
        identity = ["-c", "user.name=t", "-c", "user.email=t@localhost"]
        argv = ["git", *identity, *arguments]
        return subprocess.run(
            argv, cwd=self.directory, env=environment, check=True, capture_output=True, text=True
        ).stdout.strip()

    def commit(self, files: dict[str, str]) -> str:
        """Commit files; the new commit's id."""
        for name, text in files.items():
            path = self.directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(0o755 if text.startswith("#!") else 0o644)
        self.git("add", "--all")
        self.git("commit", "--quiet", "-m", "files")
        return self.git("rev-parse", "HEAD")

    def at(self, directory: str = "", branch: str = "") -> SourceLocation:
        """A location in this repository."""
        url = f"file://{self.directory}"
        return SourceLocation(url, url, directory, branch)

    def tree(self, *entries: tuple[str, str, str]) -> str:
        """The id of a tree object with any entries at all: mode, name and the id of each."""
        data = b"".join(f"{mode} {name}".encode() + b"\0" + bytes.fromhex(number) for mode, name, number in entries)
        return self.feed(data, "hash-object", "-t", "tree", "--literally", "-w", "--stdin")

    def blob(self, text: str) -> str:
        """The id of a blob."""
        return self.feed(text.encode(), "hash-object", "-w", "--stdin")

    def commit_tree(self, tree: str) -> str:
        """Make a commit of a tree the default branch's; its id."""
        commit = self.git("commit-tree", tree, "-m", "made by hand")
        self.git("update-ref", "refs/heads/trunk", commit)
        return commit

    def feed(self, data: bytes, *arguments: str) -> str:
        """The output of a Git command that reads."""
        command = ["git", "-C", str(self.directory), *arguments]
        return subprocess.run(command, input=data, check=True, capture_output=True).stdout.decode().strip()
