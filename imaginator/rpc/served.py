"""What is served over SRPC: the builder's methods on one port, the store's on another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from twisted.internet.interfaces import IReactorTime

from imaginator.rpc.admission import Admission
from imaginator.rpc.callers import Callers
from imaginator.rpc.imageserver import ImageParts, ImageServer
from imaginator.rpc.imaginatorserver import ImaginatorServer
from imaginator.rpc.objectserver import ObjectParts, ObjectServer
from imaginator.rpc.operations import Operations
from imaginator.srpc.server import Methods, Serving, Turns
from imaginator.store.images import EmbeddedStore
from imaginator.store.objects import Objects
from imaginator.store.workers import Workers

if TYPE_CHECKING:
    from imaginator.schedule.builder import Builder


class ServedParts(NamedTuple):
    """What is served over SRPC stands on these."""

    clock: IReactorTime
    builder: Builder
    workers: Workers
    operations: Operations
    callers: Callers
    redact: Callable[[str], str]


def builds_served(parts: ServedParts, turns: Turns) -> Serving:
    """The service ``Imaginator``."""
    methods = ImaginatorServer(parts.clock, parts.operations, parts.builder, parts.workers).methods()
    return _serving(parts, turns, methods, Admission(parts.callers, parts.redact))


def images_served(
    parts: ServedParts, turns: Turns, store: EmbeddedStore, state: Path, *, plaintext: bool = False
) -> Serving:
    """The services ``ImageServer`` and ``ObjectServer``, over the store in the state directory."""
    kept = Objects(store.objects)
    images = ImageServer(ImageParts(parts.clock, store, kept, parts.builder, parts.workers))
    objects = ObjectServer(ObjectParts(parts.clock, store, kept, parts.workers, state / "builds"))
    admission = Admission(parts.callers, parts.redact, plaintext=plaintext)
    return _serving(parts, turns, {**images.methods(), **objects.methods()}, admission)


def _serving(parts: ServedParts, turns: Turns, methods: Methods, admission: Admission) -> Serving:
    return Serving(parts.clock, parts.workers.run, methods, admission, turns, admission.translate)
