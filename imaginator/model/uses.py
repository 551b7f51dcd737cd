"""The fields in which variables expand but secrets do not: each with its name, for errors."""

from __future__ import annotations

from collections.abc import Iterator

from imaginator.model.manifest import Manifest
from imaginator.model.settings import BootstrapStream
from imaginator.model.streams import Stream

Use = tuple[str, str]
"""A field's name and its text."""


def bootstrap_uses(stream: BootstrapStream) -> Iterator[Use]:
    """Of a bootstrap stream: its command."""
    for at, word in enumerate(stream.bootstrap_command):
        yield f"BootstrapCommand[{at}]", word


def stream_uses(stream: Stream) -> Iterator[Use]:
    """Of an image stream: its variables."""
    for name, value in stream.variables.items():
        yield f"Variables[{name!r}]", value


def manifest_uses(manifest: Manifest) -> Iterator[Use]:
    """Of a manifest: what it builds on, and its tags."""
    file = manifest.file
    yield "SourceImage", file.source_image
    yield "SourceImageGitCommitId", file.source_image_git_commit_id
    for name, value in file.source_image_build_variables.items():
        yield f"SourceImageBuildVariables[{name!r}]", value
    for key, values in file.source_image_tags_to_match.items():
        yield from ((f"SourceImageTagsToMatch[{key!r}]", value) for value in values)
    for key, value in manifest.tags.items():
        yield f"tags.json[{key!r}]", value
