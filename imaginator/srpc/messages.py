"""What the image server, the object server and the imaginator are asked, and answer.

Durations are nanoseconds, as Go has them. A list of names comes as lines of text instead, ended by an empty one.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from imaginator.srpc.filesystem import Hash, Image
from imaginator.srpc.kinds import Called, Message, Moment, Uint

MatchTags = Annotated[dict[str, Annotated[list[str], Called("")]], Called("MatchTags")]
"""For each key the values of which an image has one."""


class AddImageRequest(Message, frozen=True):
    """Add an image, whose objects are there."""

    image_name: str = ""
    image: Image | None = None


class AddImageResponse(Message, frozen=True):
    """It is added."""


class ChangeImageExpirationRequest(Message, frozen=True):
    """Let an image expire at another time, or never."""

    expires_at: Moment | None = None
    image_name: str = ""


class ChangeImageExpirationResponse(Message, frozen=True):
    """Why not, if so."""

    error: str = ""


class CheckDirectoryRequest(Message, frozen=True):
    """Ask whether a directory is there."""

    directory_name: str = ""


class CheckDirectoryResponse(Message, frozen=True):
    """Whether it is."""

    directory_exists: bool = False


class CheckImageRequest(Message, frozen=True):
    """Ask whether an image is there."""

    image_name: str = ""


class CheckImageResponse(Message, frozen=True):
    """Whether it is."""

    image_exists: bool = False


class DeleteImageRequest(Message, frozen=True):
    """Delete an image."""

    image_name: str = ""


class DeleteImageResponse(Message, frozen=True):
    """It is gone."""


class FindLatestImageRequest(Message, frozen=True):
    """Ask for the latest image of a directory: of a commit, with tags, or among those that do not expire."""

    build_commit_id: str = ""
    directory_name: str = ""
    ignore_expiring_images: bool = False
    tags_to_match: MatchTags = {}


class FindLatestImageResponse(Message, frozen=True):
    """Its name, empty where there is none."""

    image_name: str = ""
    error: str = ""


class GetImageExpirationRequest(Message, frozen=True):
    """Ask when an image expires."""

    image_name: str = ""


class GetImageExpirationResponse(Message, frozen=True):
    """When it does, if ever."""

    error: str = ""
    expires_at: Moment | None = None


class GetImageRequest(Message, frozen=True):
    """Ask for an image, waiting for it so many nanoseconds."""

    image_name: str = ""
    ignore_filesystem: bool = False
    ignore_filesystem_if_expiring: bool = False
    timeout: int = 0


class GetImageResponse(Message, frozen=True):
    """The image, or none."""

    image: Image | None = None
    information_database_url: str = msgspec.field(default="", name="InformationDatabaseURL")


class DirectoryMetadata(Message, frozen=True):
    """Whose a directory is."""

    owner_group: str = ""


class Directory(Message, frozen=True):
    """A directory of images; the last of a list has no name."""

    name: str = ""
    metadata: DirectoryMetadata = DirectoryMetadata()


class GetFilteredImageUpdatesRequest(Message, frozen=True):
    """Ask to be told of all images and directories, and of what becomes of them."""

    ignore_expiring_images: bool = False


class ImageUpdate(Message, frozen=True):
    """An image or a directory that is there, or an image that is gone; the first list ends with an empty one."""

    directory: Directory | None = None
    name: str = ""
    operation: Uint = 0


class ListSelectedImagesRequest(Message, frozen=True):
    """Ask for the images below a directory; the answer is lines."""

    directory_name: str = ""
    ignore_expiring_images: bool = False
    tags_to_match: MatchTags = {}


class MakeDirectoryRequest(Message, frozen=True):
    """Make a directory, with those above it if all are wanted."""

    directory_name: str = ""
    make_all: bool = False


class MakeDirectoryResponse(Message, frozen=True):
    """It is there."""


class AddObjectRequest(Message, frozen=True):
    """An object of so many bytes follows; the last one has no length, and nothing follows."""

    length: Uint = 0
    expected_hash: Hash | None = None


class AddObjectResponse(Message, frozen=True):
    """An object's hash, and whether it was new."""

    error_string: str = ""
    hash: Hash = bytes(64)
    added: bool = False


class CheckObjectsRequest(Message, frozen=True):
    """Ask for the sizes of objects."""

    hashes: Annotated[list[Hash], Called("[]hash.Hash")] = []


class CheckObjectsResponse(Message, frozen=True):
    """Their sizes, 0 for those that are missing."""

    object_sizes: Annotated[list[Uint], Called("[]uint64")] = []


class GetObjectsRequest(Message, frozen=True):
    """Ask for objects."""

    exclusive: bool = False
    hashes: Annotated[list[Hash], Called("[]hash.Hash")] = []


class GetObjectsResponse(Message, frozen=True):
    """Their sizes; the objects follow, one after the other."""

    response_string: str = ""
    object_sizes: Annotated[list[Uint], Called("[]uint64")] = []


class BuildImageRequest(Message, frozen=True):
    """Build a stream's image."""

    disable_recursive_build: bool = False
    expires_in: int = 0
    git_branch: str = ""
    max_source_age: int = 0
    maximum_build_duration: int = 0
    return_image: bool = False
    stream_build_log: bool = False
    stream_name: str = ""
    variables: dict[str, str] = {}


class BuildImageResponse(Message, frozen=True):
    """The image's name, or why there is none; in pieces, the log first, where that is streamed."""

    image: Image | None = None
    image_name: str = ""
    build_log: bytes = b""
    error_string: str = ""
    need_source_image: bool = False
    source_image: str = ""
    source_image_build_variables: dict[str, str] = {}
    source_image_git_commit_id: str = ""


class GetDependenciesRequest(Message, frozen=True):
    """Ask which stream builds on which, as known for so long at most."""

    max_age: int = 0


class Nothing(Message, frozen=True):
    """Go's empty struct."""


class GetDependenciesResult(Message, frozen=True):
    """Source stream by stream."""

    fetch_log: bytes = b""
    generated_at: Moment | None = None
    last_attempt_at: Moment | None = None
    last_attempt_error: str = ""
    stream_to_source: dict[str, str] = {}
    unbuildable_sources: Annotated[dict[str, Annotated[Nothing, Called("")]], Called("map[string]struct {}")] = {}


class GetDependenciesResponse(Message, frozen=True):
    """The result, or why there is none."""

    get_dependencies_result: GetDependenciesResult = GetDependenciesResult()
    error: str = ""


class GetDirectedGraphRequest(Message, frozen=True):
    """Ask for a drawing of which stream builds on which, of some of them; as known for so long at most."""

    excludes: list[str] = []
    includes: list[str] = []
    max_age: int = 0


class GetDirectedGraphResult(Message, frozen=True):
    """The drawing, a text for Graphviz."""

    fetch_log: bytes = b""
    generated_at: Moment | None = None
    graphviz_dot: bytes = b""
    last_attempt_at: Moment | None = None
    last_attempt_error: str = ""


class GetDirectedGraphResponse(Message, frozen=True):
    """The drawing, or why there is none."""

    get_directed_graph_result: GetDirectedGraphResult = GetDirectedGraphResult()
    error: str = ""


class DisableAutoBuildsRequest(Message, frozen=True):
    """Disable automatic builds for so long."""

    disable_for: int = 0


class DisableAutoBuildsResponse(Message, frozen=True):
    """Until when they are."""

    disabled_until: Moment | None = None
    error: str = ""


class DisableBuildRequestsRequest(Message, frozen=True):
    """Refuse requests for builds for so long."""

    disable_for: int = 0


class DisableBuildRequestsResponse(Message, frozen=True):
    """Until when they are refused."""

    disabled_until: Moment | None = None
    error: str = ""


class StartAutoBuildsRequest(Message, frozen=True):
    """Begin the automatic builds now."""

    wait_for_complete: bool = False
    wait_to_start: bool = False


class StartAutoBuildsResponse(Message, frozen=True):
    """Why not, if so."""

    error: str = ""
