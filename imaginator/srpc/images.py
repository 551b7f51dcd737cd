"""Between what we say of an image and what the wire does, beside its tree (`trees`). Pure.

The wire knows neither the build, nor what it was made from and counted; a packager's type it holds as a tag would be
another image's. Its times are whole: ours have microseconds.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from imaginator.model.image import Annotation, Annotations, Image, Origin, Owners, Package, Trigger
from imaginator.model.tree import Entry, Inode, Kind, NodeReader
from imaginator.srpc import filesystem as wire
from imaginator.srpc.kinds import Moment
from imaginator.srpc.trees import to_wire

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NO_TREE = Entry(b"", Inode(Kind.DIRECTORY, 0o755))
_LAST = datetime(9999, 12, 31, tzinfo=UTC)
_FIRST = datetime(1, 1, 1, tzinfo=UTC)


def image_to_wire(image: Image, tree: wire.FileSystem | None, log: bytes = b"") -> wire.Image:
    """An image with its tree, or without; ``log`` is the hash of its build's log, if that is another object."""
    return wire.Image(
        build_branch=image.origin.git_branch,
        build_commit_id=image.origin.git_commit_id,
        build_git_url=image.origin.git_url,
        created_for=image.origin.created_for,
        filter=None if image.filter is None else wire.Filter(list(image.filter)),
        file_system=tree,
        triggers=None if image.triggers is None else wire.Triggers(list(map(_trigger_to_wire, image.triggers))),
        release_notes=_annotation_to_wire(image.annotations.release_notes),
        build_log=wire.Annotation(object=log) if log else _annotation_to_wire(image.annotations.build_log),
        created_on=moment(image.created_at),
        expires_at=None if image.expires_at is None else moment(image.expires_at),
        owner_groups=list(image.owners.groups),
        owner_users=list(image.owners.users),
        packages=[wire.Package(name=one.name, size=one.size, version=one.version) for one in image.packages],
        source_image=image.origin.source_image,
        tags=dict(image.tags),
    )


def whole_to_wire(image: Image, read: NodeReader) -> wire.Image:
    """An image with its tree, whose nodes are read; what the wire cannot hold is left out."""
    return image_to_wire(image, to_wire(image.root, read).tree)


def image_from_wire(name: str, received: wire.Image) -> Image:
    """An image without a tree: its root is an empty directory, and its figures are 0."""
    return Image(
        name=name,
        root=_NO_TREE,
        created_at=_FIRST if received.created_on is None else time_of(received.created_on),
        expires_at=None if received.expires_at is None else time_of(received.expires_at),
        filter=None if received.filter is None else tuple(received.filter.filter_lines),
        triggers=None if received.triggers is None else tuple(map(_trigger_from_wire, received.triggers.triggers)),
        tags=dict(received.tags),
        owners=Owners(tuple(received.owner_users), tuple(received.owner_groups)),
        packages=tuple(Package(one.name, one.version, one.size) for one in received.packages),
        origin=Origin(
            source_image=received.source_image,
            git_url=received.build_git_url,
            git_branch=received.build_branch,
            git_commit_id=received.build_commit_id,
            created_for=received.created_for,
        ),
        annotations=Annotations(
            _annotation_from_wire(received.release_notes), _annotation_from_wire(received.build_log)
        ),
    )


def _annotation_to_wire(annotation: Annotation | None) -> wire.Annotation | None:
    return None if annotation is None else wire.Annotation(annotation.object or None, annotation.url)


def _annotation_from_wire(annotation: wire.Annotation | None) -> Annotation | None:
    return None if annotation is None else Annotation(annotation.object or b"", annotation.url)


def _trigger_to_wire(trigger: Trigger) -> wire.Trigger:
    return wire.Trigger(
        match_lines=list(trigger.match_lines),
        service=trigger.service,
        sort_name=trigger.sort_name,
        do_reboot=trigger.do_reboot,
        do_reload=trigger.do_reload,
        high_impact=trigger.high_impact,
    )


def _trigger_from_wire(trigger: wire.Trigger) -> Trigger:
    return Trigger(
        match_lines=tuple(trigger.match_lines),
        service=trigger.service,
        sort_name=trigger.sort_name,
        do_reboot=trigger.do_reboot,
        do_reload=trigger.do_reload,
        high_impact=trigger.high_impact,
    )


def moment(time: datetime) -> Moment:
    """A time as the wire has it, in UTC."""
    since = time - _EPOCH
    return Moment(since.days * 86400 + since.seconds, since.microseconds * 1000)


def time_of(moment: Moment) -> datetime:
    """A moment in UTC; one beyond Python's years is the first or the last day of these."""
    try:
        return _EPOCH + timedelta(seconds=moment.seconds, microseconds=moment.nanoseconds // 1000)
    except OverflowError:
        return _FIRST if moment.seconds < 0 else _LAST
