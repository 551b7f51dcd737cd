"""What an image says of itself beside its tree, made from the manifest, the request and the source image."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec

from imaginator.build.described import Description
from imaginator.build.job import Job
from imaginator.build.sources import Checkout
from imaginator.model.filters import Filter, merge_lines
from imaginator.model.fingerprint import Fingerprint
from imaginator.model.image import Image, Origin, Package, Trigger
from imaginator.model.manifest import ComputedFile, Manifest
from imaginator.model.settings import BootstrapStream, Settings
from imaginator.model.tags import expand_tags
from imaginator.model.tree import Entry, Inode, Kind, NodeReader
from imaginator.model.triggers import merge_triggers
from imaginator.store.merkle import computed_files

_NO_TREE = Entry(b"", Inode(Kind.DIRECTORY, 0o755))


class Ingredients(NamedTuple):
    """What a manifest build was made from; the fingerprint still without the package index."""

    checkout: Checkout
    manifest: Manifest
    source: Image
    fingerprint: Fingerprint


def draft(job: Job, packages: tuple[Package, ...], now: float) -> Image:
    """What every image says, its tree still missing; ``now`` is in seconds since 1970, the name is the stream."""
    created_at = datetime.fromtimestamp(now, UTC)
    return Image(
        name=job.stream_name,
        root=_NO_TREE,
        created_at=created_at,
        expires_at=created_at + timedelta(seconds=job.expires_in) if job.expires_in else None,
        packages=packages,
        origin=Origin(build_id=job.build_id, created_for=job.requester),
    )


def with_bootstrap(image: Image, definition: BootstrapStream, said: Description, environment: dict[str, str]) -> Image:
    """A draft with what the main configuration, and the files that it names, say of a bootstrap stream."""
    return msgspec.structs.replace(
        image,
        filter=said.filter,
        triggers=said.triggers,
        tags=expand_tags(said.tags or {}, environment),
        owners=definition.owners,
        packager_type=definition.packager_type,
    )


def with_manifest(image: Image, made_from: Ingredients, environment: dict[str, str], index: str) -> Image:
    """A draft with what its manifest says; the source image lends its packager type, and more to ``.add`` files.

    ``index`` is the state of the package index that was installed from.
    """
    checkout, manifest, source, fingerprint = made_from
    origin = msgspec.structs.replace(
        image.origin,
        source_image=source.name,
        git_url=checkout.public_url if checkout.commit else "",
        git_branch=checkout.branch,
        git_commit_id=checkout.commit,
    )
    return msgspec.structs.replace(
        image,
        filter=_filter(manifest, source),
        triggers=_triggers(manifest, source),
        tags=expand_tags(manifest.tags, environment),
        owners=manifest.owners,
        origin=origin,
        packager_type=source.packager_type,
        fingerprint=msgspec.structs.replace(fingerprint, index=index),
    )


def _filter(manifest: Manifest, source: Image) -> tuple[str, ...] | None:
    if manifest.filter_add is None:
        return manifest.filter
    return merge_lines(source.filter or (), manifest.filter_add)


def _triggers(manifest: Manifest, source: Image) -> tuple[Trigger, ...] | None:
    if manifest.triggers_add is None:
        return manifest.triggers
    return merge_triggers(source.triggers or (), manifest.triggers_add)


def computed_addresses(made_from: Ingredients, read: NodeReader) -> dict[bytes, bytes]:
    """Paths and source addresses of an image's computed files; for worker threads, since it may walk the source."""
    manifest, source = made_from.manifest, made_from.source
    if manifest.computed_files_add is None:
        return _by_path(manifest.computed_files or ())
    return computed_files(source.root, read) | _by_path(manifest.computed_files_add)


def _by_path(files: Iterable[ComputedFile]) -> dict[bytes, bytes]:
    return {file.filename.encode(): file.source.encode() for file in files}


def times_filter(settings: Settings, manifest: Manifest | None) -> Filter:
    """The paths whose new mtimes are kept although nothing else of them changed."""
    common = settings.mtimes_copy_filter_lines
    if manifest is None:
        return Filter(common, "MtimesCopyFilterLines")
    replaced = manifest.file.mtimes_copy_filter_lines
    base = common if replaced is None else replaced
    return Filter([*base, *manifest.file.mtimes_copy_add_filter_lines], "MtimesCopyFilterLines")
