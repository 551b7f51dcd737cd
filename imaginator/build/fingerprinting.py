"""The fingerprint of what a job makes: computed by the build, and by whoever asks whether one is needed."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from imaginator.build.described import Description
from imaginator.build.environment import build_environment
from imaginator.build.job import Job
from imaginator.build.packager import generic_packager_script
from imaginator.model.fingerprint import Fingerprint, digest, digests
from imaginator.model.manifest import RUN_DIRECTORIES, Manifest
from imaginator.model.settings import BootstrapStream
from imaginator.model.streams import Stream
from imaginator.model.uses import manifest_uses
from imaginator.model.variables import references

RECIPE = 1
"""Raised whenever the same manifest or command would make another image than before."""

BEFORE_PACKAGES = ("files", "files.append", "pre-install-scripts")
"""The directories of a manifest that come before its packages."""

_COMMIT = "MANIFEST_GIT_COMMIT_ID"


class Facts(NamedTuple):
    """What counts of a manifest's content: its texts, and which of the directories that count hold anything."""

    manifest: Manifest
    parts: frozenset[str]

    @property
    def prepares(self) -> bool:
        """Whether it changes the tree before packages are installed: maybe the packager's sources or preferences."""
        return not self.parts.isdisjoint(BEFORE_PACKAGES)

    @property
    def sees_commit(self) -> bool:
        """Whether the commit's id makes a difference: a commit elsewhere in the repository has another one."""
        used = {name for _, text in manifest_uses(self.manifest) for name in references(text)}
        return not self.parts.isdisjoint(RUN_DIRECTORIES) or _COMMIT in used


def facts_of(directory: Path, manifest: Manifest) -> Facts:
    """The facts of a manifest that was read from ``directory``; for worker threads."""
    names = {*RUN_DIRECTORIES, *BEFORE_PACKAGES}
    return Facts(manifest, frozenset(name for name in names if _holds_something(directory / name)))


def _holds_something(directory: Path) -> bool:
    return directory.is_dir() and any(directory.iterdir())


def bootstrap_fingerprint(job: Job, definition: BootstrapStream, said: Description) -> Fingerprint:
    """That of a bootstrap, of which files ``said`` what else the image is to have."""
    assert job.packager is not None
    parts: dict[str, object] = {
        **_common(job),
        "BootstrapCommand": definition.bootstrap_command,
        "a file of BootstrapCommand": _host_files(definition.bootstrap_command),
        "FilterLines": definition.filter_lines,
        "ImageFilterUrl": said.filter,
        "ImageTagsUrl": said.tags,
        "ImageTriggersUrl": said.triggers,
        "Owners": definition.owners,
        "PackagerType": (definition.packager_type, digest(generic_packager_script(job.packager))),
    }
    return Fingerprint(definition=digests(parts), environment=digests(build_environment(job, "")))


def _host_files(command: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Sizes and times of the host's files that a command names: scripts, keyrings, lists of packages."""
    found = {}
    for word in command:
        with suppress(OSError, ValueError):
            if word.startswith("/") and stat.S_ISREG((status := Path(word).stat()).st_mode):
                found[word] = (status.st_size, status.st_mtime_ns)
    return found


def manifest_fingerprint(
    job: Job, definition: Stream, content: str, facts: Facts, environment: dict[str, str], source: str
) -> Fingerprint:
    """That of a manifest whose ``content`` has these ``facts``, over the image called ``source``."""
    seen = {name: value for name, value in environment.items() if name != _COMMIT or facts.sees_commit}
    return Fingerprint(
        definition=digests({**_common(job), "Network": definition.network}),
        manifest=content,
        source_image=source,
        environment=digests(seen),
    )


def _common(job: Job) -> dict[str, object]:
    return {"MtimesCopyFilterLines": job.settings.mtimes_copy_filter_lines, "Recipe": RECIPE}
