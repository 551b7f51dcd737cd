"""An image server as the image store: what is here is a cache of it, and what builds stand on.

An image is there as soon as the server has it: its objects go first, those that the server lacks, then the image, and
last it is entered here, with the layers that the build has made. One that others have made is fetched whole once a
build wants it. So a crash at any moment leaves an image at the server, or nothing.

What the server cannot hold, extended attributes, is kept here, in nodes and layers, and told of.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from msgspec.structs import replace
from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger

from imaginator.model.errors import NotFound, Unreachable
from imaginator.model.errors import Refused as RefusedHere
from imaginator.model.image import Annotations, Image
from imaginator.model.names import image_name
from imaginator.model.tree import Node, NodeReader, decode_node
from imaginator.srpc import filesystem as wire
from imaginator.srpc import messages as said
from imaginator.srpc.errors import Refused
from imaginator.srpc.images import image_to_wire, moment
from imaginator.srpc.trees import to_wire
from imaginator.store.arriving import arrived, check_sizes
from imaginator.store.catalogue import Catalogue
from imaginator.store.exchange import Exchange
from imaginator.store.images import EmbeddedStore, next_name
from imaginator.store.interface import Note, Wanted, silent
from imaginator.store.objects import Objects
from imaginator.store.workers import Workers

ATTEMPTS = 5
"""How often an image is added, where somebody else has taken its name meanwhile, or objects are not there any more."""

SHOWN = 50
"""Paths that a line of the build log names."""

_log = Logger()

Log = Callable[[str], bytes]
"""The log of a build so far, by the build's id; empty where there is none."""


class RemoteStore(EmbeddedStore):
    """The images of a server; ``log`` finds the log that goes with an image."""

    def __init__(
        self,
        catalogue: Catalogue,
        objects: Objects,
        workers: Workers,
        now: Callable[[], datetime],
        exchange: Exchange,
        log: Log,
    ) -> None:
        super().__init__(catalogue, objects, workers, now)
        self._exchange = exchange
        self._log = log
        self._fetching = DeferredLock()

    async def find_latest(self, wanted: Wanted) -> Image | None:
        """The server's latest matching image, which is fetched if it is not here; None where there is none.

        Raises `Unreachable` where the server stays away.
        """
        tags = {key: list(values) for key, values in wanted.tags.items()}
        name = await self._exchange.find_latest(
            said.FindLatestImageRequest(wanted.commit, wanted.stream, wanted.lasting, tags)
        )
        return await self._fetching.run(lambda: Deferred.fromCoroutine(self._here(name))) if name else None

    async def _here(self, name: str) -> Image | None:
        try:
            return await self.get(name)
        except NotFound:
            return await self._fetched(name)

    async def _fetched(self, name: str) -> Image | None:
        """An image of the server, which is here from now on; None where it has gone meanwhile."""
        received = await self._exchange.image(name)
        if received is None:
            return None
        found = await self._workers.run(arrived, name, received)
        with self.holds.opened() as held:
            held.keep_content(found.objects)
            await self._exchange.fetch(found.objects)
            check_sizes(found, await self._workers.run(self._objects.differing, found.objects))
            _log.info("image {name} was fetched", name=name)
            # The texts beside it are read at the server.
            image = replace(found.image, annotations=Annotations())
            return await self.bring(image, found.nodes, ())

    async def add(
        self, draft: Image, nodes: Mapping[bytes, bytes], layers: Sequence[str], note: Note = silent
    ) -> Image:
        """Add an image to the server, then here; ``note`` is told what the server could not take.

        Raises `StoreCorrupt` for what is missing here, `Unreachable` where the server stays away or will not have it.
        """
        await self._workers.run(self._check, nodes)
        sent = await self._workers.run(to_wire, draft.root, self._reader(nodes))
        if sent.lost:
            note(_told(sent.lost))
        texts = await self._workers.run(self._texts, draft.origin.build_id)
        await self._send(await self._workers.run(_sizes, nodes), texts, note)
        name = await self._added(draft, image_to_wire(draft, sent.tree, *texts), texts, note)
        return await self.bring(replace(draft, name=name), nodes, layers)

    def _texts(self, build_id: str) -> dict[bytes, bytes]:
        """The log of a build by its hash, if there is one."""
        log = self._log(build_id)
        return {hashlib.sha512(log).digest(): log} if log else {}

    def _reader(self, nodes: Mapping[bytes, bytes]) -> NodeReader:
        kept = self.nodes()

        def read(node: bytes) -> Node:
            return decode_node(nodes[node]) if node in nodes else kept(node)

        return read

    async def _send(self, sizes: Mapping[bytes, int], texts: Mapping[bytes, bytes], note: Note) -> None:
        """Send objects that the server lacks."""
        lacking = await self._exchange.missing(sizes)
        if lacking:
            note(f"{len(lacking)} objects of {sum(sizes[digest] for digest in lacking)} bytes go to the image server")
        if lacking or texts:
            await self._exchange.send({digest: sizes[digest] for digest in lacking}, texts)

    async def _added(self, draft: Image, image: wire.Image, texts: Mapping[bytes, bytes], note: Note) -> str:
        """The name under which the server has the image."""
        for _ in range(ATTEMPTS):
            name = await self._name(draft.name)
            try:
                await self._exchange.add_image(name, image)
                return name
            except Refused as refused:
                if await self._is_there(name, image):
                    return name
                if await self._exchange.image(name, tree=False) is not None:
                    continue  # somebody else has been quicker
                if not await self._send_all(image, texts, note):
                    raise Unreachable("the image server", f"it does not take {name}: {refused}") from None
        raise Unreachable("the image server", f"{draft.name}: every name is taken, or objects do not stay there")

    async def _name(self, stream: str) -> str:
        """A name that no image of the stream has, and that comes after all of them."""
        latest = await self._exchange.find_latest(said.FindLatestImageRequest(directory_name=stream))
        if latest is None:
            await self._exchange.make_directory(stream)
        own = await self._catalogue.read(lambda connection: next_name(connection, stream, self._now()))
        return max(own, image_name(stream, self._now(), latest))

    async def _is_there(self, name: str, image: wire.Image) -> bool:
        """Whether an image of this name is the one that was to be added: its answer may have been lost."""
        found = await self._exchange.image(name, tree=False)
        if found is None:
            return False
        # The log has the build's id in it; a server may set the time by itself.
        same_log = image.build_log is not None and found.build_log == image.build_log
        return same_log or found.created_on == image.created_on

    async def _send_all(self, image: wire.Image, texts: Mapping[bytes, bytes], note: Note) -> bool:
        """Send what the server lacks of the whole image; whether it lacked any.

        It may have had the source image's objects, or those that were just sent, and have lost them with a restart.
        """
        inodes = image.file_system.inode_table.values() if image.file_system else ()
        sizes = {one.hash: one.size for one in inodes if isinstance(one, wire.RegularInode) and one.size}
        lost = {digest: texts[digest] for digest in await self._exchange.missing(texts)}
        lacking = await self._exchange.missing(sizes)
        await self._send({digest: sizes[digest] for digest in lacking}, lost, note)
        return bool(lacking or lost)

    async def set_expiry(self, name: str, expires_at: datetime | None) -> None:
        """Change when an image expires, there and here; raises `NotFound`, or `Refused` by the server."""
        until = None if expires_at is None else moment(expires_at)
        try:
            await self._exchange.change_expiry(said.ChangeImageExpirationRequest(until, name))
        except Refused as refused:
            raise RefusedHere(f"the image server: {refused}") from None
        await super().set_expiry(name, expires_at)

    async def extend(self, names: Sequence[str], until: datetime, confirmed_at: datetime | None = None) -> None:
        """Let images live until then, there and here, unless they live longer anyway."""
        for name in names:
            try:
                image = await self.get(name)
                if image.expires_at is not None and image.expires_at < until:
                    request = said.ChangeImageExpirationRequest(moment(until), name)
                    await self._exchange.change_expiry(request)
            except NotFound:
                continue
            except Refused as refused:
                _log.warn("image {name} does not live on: {why}", name=name, why=str(refused))
        await super().extend(names, until, confirmed_at)

    async def delete(self, name: str) -> None:
        """Delete an image, there and here; raises `NotFound`, or `Refused` by the server."""
        await self.get(name)
        try:
            await self._exchange.delete_image(name)
        except Refused as refused:
            if await self._exchange.image(name, tree=False) is not None:
                raise RefusedHere(f"the image server: {refused}") from None
        await super().delete(name)


def _sizes(nodes: Mapping[bytes, bytes]) -> dict[bytes, int]:
    """The objects that nodes have, and their sizes."""
    inodes = [entry.inode for data in nodes.values() for entry in decode_node(data).entries]
    return {inode.object: inode.size for inode in inodes if inode.object}


def _told(lost: Sequence[bytes]) -> str:
    paths = ", ".join(path.decode(errors="replace") for path in lost[:SHOWN])
    more = f" and {len(lost) - SHOWN} more" if len(lost) > SHOWN else ""
    return f"warning: the image server cannot hold the extended attributes of {paths}{more}; they are kept here"


def log_reader(logs: Path) -> Log:
    """Finds the logs of running builds in the directory of the state."""

    def read(build_id: str) -> bytes:
        try:
            return (logs / build_id).read_bytes() if build_id else b""
        except OSError:
            return b""

    return read
