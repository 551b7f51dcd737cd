"""What is said of a stream once variables are expanded: where its manifest lies, and on which stream it builds."""

from __future__ import annotations

from collections.abc import Mapping

from imaginator.build.environment import shown_secrets
from imaginator.build.sources import SourceLocation
from imaginator.model.errors import ConfigurationError, InvalidRequest
from imaginator.model.giturl import without_password
from imaginator.model.names import check_stream_name
from imaginator.model.redaction import Redactor
from imaginator.model.streams import Stream
from imaginator.model.variables import expand


def locate(
    definition: Stream, variables: Mapping[str, str], secrets: Mapping[str, str], branch: str = ""
) -> SourceLocation:
    """Where a stream's manifest lies, for a build with ``variables``; secrets expand too, and are shown by name."""
    secret = {**variables, **secrets}
    public = {**variables, **shown_secrets(secrets)}
    return SourceLocation(
        url=expand(definition.manifest_url, secret),
        shown=without_password(expand(definition.manifest_url, public)),
        directory=expand(definition.manifest_directory, secret),
        branch=branch,
    )


def shown_place(location: SourceLocation, redactor: Redactor) -> str:
    """What a manifest's place is called in errors."""
    return redactor.text(f"{location.shown}/{location.directory}".rstrip("/"))


def source_stream(source_image: str, environment: Mapping[str, str], where: str) -> str:
    """The stream that a manifest builds on, of its ``SourceImage``.

    Raises `ConfigurationError` where the variables of this build make no name of it.
    """
    try:
        return check_stream_name(expand(source_image, environment))
    except InvalidRequest as error:
        raise ConfigurationError(f"{where}/manifest", f"SourceImage {source_image!r}: {error}") from None
