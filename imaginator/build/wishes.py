"""Which image a job's manifest builds on."""

from __future__ import annotations

from imaginator.build.job import Job, SourceWish
from imaginator.build.locations import source_stream
from imaginator.model.manifest import ManifestFile
from imaginator.model.tags import expand_wanted
from imaginator.model.variables import expand


def wish_of(job: Job, file: ManifestFile, environment: dict[str, str], where: str) -> SourceWish:
    """The image that a manifest at ``where`` builds on; raises `ConfigurationError` where it names no stream."""
    variables = {name: expand(value, environment) for name, value in file.source_image_build_variables.items()}
    return SourceWish(
        stream=source_stream(file.source_image, environment, where),
        commit=expand(file.source_image_git_commit_id, environment),
        tags=expand_wanted(file.source_image_tags_to_match, environment),
        variables={**variables, **job.request.variables},
    )
