"""What programs of the existing ecosystem have said, said again to our image server, and what else they may ask."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from imaginator.srpc import messages as said
from imaginator.srpc.coders import GOB
from imaginator.srpc.filesystem import Filter, RegularInode
from imaginator.srpc.images import moment
from tests.integration.test_image_server import Server, refusal
from tests.srpc.test_recordings import TINY, check_tiny, client
from tests.support.srpc_peer import Peer, Talk, Turned

pytestmark = pytest.mark.integration

NAME = "tiny/v1"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One whose user may add images."""
    server = Server(tmp_path_factory.mktemp("recorded") / "server", "--trusted-users", "user")
    yield server
    server.live.close()


def answers(server: Server, scene: str, *kinds: Any) -> list[Any]:
    """What the server answers to a recorded client whose calls are answered by values of some types."""
    with server.peer() as peer:
        peer.say(client(scene).left)
        found = []
        for kind in kinds:
            found.append(answer(peer, kind))
        return found


def answer(peer: Peer, kind: Any) -> Any:
    """The answer to one call, or the words for a refusal."""
    return peer.line() or peer.line() or Talk(peer, GOB).receive(kind)


def add(server: Server) -> None:
    """Have the recorded client add its image."""
    with server.peer() as peer:
        peer.say(client("addimage-tiny").left)
        assert said.CheckImageResponse() == answer(peer, said.CheckImageResponse)
        assert "" == peer.line()
        talk = Talk(peer, GOB)
        assert {""} == {talk.receive(said.AddObjectResponse).error_string for _ in TINY}
        assert said.AddImageResponse() == answer(peer, said.AddImageResponse)


@pytest.fixture(scope="module")
def tiny(server: Server) -> str:
    """The recorded image, added."""
    add(server)
    return NAME


def test_an_image_that_was_added(server: Server, tiny: str) -> None:
    """Every recorded question about it has the answer that was recorded."""
    (got,) = answers(server, "getimage-tiny", said.GetImageResponse)
    (there,) = answers(server, "addimage-duplicate", said.CheckImageResponse)
    (latest,) = answers(server, "findlatest-tiny", said.FindLatestImageResponse)
    (none,) = answers(server, "getimage-missing", said.GetImageResponse)
    (made,) = answers(server, "mkdir", said.MakeDirectoryResponse)

    check_tiny(got.image)
    assert (True, tiny, None) == (there.image_exists, latest.image_name, none.image)
    assert said.MakeDirectoryResponse() == made
    assert tiny in server.live.images()


def test_its_objects(server: Server, tiny: str) -> None:
    """They come as they were asked for."""
    with server.peer() as peer:
        peer.say(client("getobjects-tiny").left)
        image = answer(peer, said.GetImageResponse).image
        assert "" == peer.line()
        sizes = Talk(peer, GOB).receive(said.GetObjectsResponse)
        contents = {hashlib.sha512(peer.data(size)).digest() for size in sizes.object_sizes}

    files = [one for one in image.file_system.inode_table.values() if isinstance(one, RegularInode) and one.size]
    assert contents == {one.hash for one in files}


def test_lists(server: Server, tiny: str) -> None:
    """Of images, selected ones, and directories; a ping goes between."""
    with server.peer() as peer:
        peer.begin("ImageServer.ListImages")
        assert tiny in list(iter(peer.line, ""))
        peer.say(b"\n")
        assert "" == peer.line()
        for request, found in (
            (said.ListSelectedImagesRequest("tiny"), [tiny]),
            (said.ListSelectedImagesRequest("tiny", tags_to_match={"a": ["b"]}), []),
            (said.ListSelectedImagesRequest("elsewhere"), []),
        ):
            peer.begin("ImageServer.ListSelectedImages").send(request)
            assert found == list(iter(peer.line, ""))
        talk = peer.begin("ImageServer.ListDirectories")
        directories = []
        while (one := talk.receive(said.Directory)).name:
            directories.append(one.name)
        assert "tiny" in directories
        check = peer.ask("ImageServer.CheckDirectory", said.CheckDirectoryRequest("tiny"), said.CheckDirectoryResponse)
        assert check.directory_exists


def test_news(server: Server, tiny: str) -> None:
    """What there is, and then what is added and deleted, as it happens."""
    with server.peer() as peer:
        talk = peer.begin("ImageServer.GetFilteredImageUpdates")
        talk.send(said.GetFilteredImageUpdatesRequest())
        first = []
        while (update := talk.receive(said.ImageUpdate)) != said.ImageUpdate():
            first.append((update.operation, update.name or update.directory.name))
        name = server.live.build("small")["ImageName"]
        later = [talk.receive(said.ImageUpdate) for _ in range(2)]
        server.live.call("ImageServer.DeleteImage", ImageName=name)
        last = talk.receive(said.ImageUpdate)

    assert {(2, "tiny"), (0, tiny)} <= {*first}
    assert [(2, "small"), (0, name)] == [(one.operation, one.name or one.directory.name) for one in later]
    assert (1, name) == (last.operation, last.name)


def test_expiry_and_deletion(server: Server) -> None:
    """Times are changed and told; an image that is gone is asked for in vain; one is waited for."""
    name = server.live.build("small")["ImageName"]
    until = moment(datetime.now(UTC) + timedelta(hours=2))
    expiry = said.GetImageExpirationRequest(name)
    with server.peer() as peer:
        changed = peer.ask(
            "ImageServer.ChangeImageExpiration",
            said.ChangeImageExpirationRequest(until, name),
            said.ChangeImageExpirationResponse,
        )
        told = peer.ask("ImageServer.GetImageExpiration", expiry, said.GetImageExpirationResponse)
        with_tree = said.GetImageRequest(name, ignore_filesystem_if_expiring=True)
        lean = peer.ask("ImageServer.GetImage", with_tree, said.GetImageResponse)
        peer.ask("ImageServer.DeleteImage", said.DeleteImageRequest(name), said.DeleteImageResponse)
        gone = peer.ask("ImageServer.GetImageExpiration", expiry, said.GetImageExpirationResponse)
        began = time.monotonic()
        waited = peer.ask("ImageServer.GetImage", said.GetImageRequest(name, timeout=10**9), said.GetImageResponse)

    assert ("", until.seconds, None, "image not found") == (
        changed.error,
        told.expires_at.seconds,
        lean.image.file_system,
        gone.error,
    )
    assert waited.image is None
    assert time.monotonic() - began >= 1


def test_images_that_are_not_taken(server: Server, tiny: str) -> None:
    """One sentence each."""
    with server.peer() as peer:
        image = peer.ask("ImageServer.GetImage", said.GetImageRequest(tiny), said.GetImageResponse).image

        def refused(name: str, changed: Any) -> str:
            with pytest.raises(Turned) as turned:
                peer.ask("ImageServer.AddImage", said.AddImageRequest(name, changed), said.AddImageResponse)
            return str(turned.value)

        tree = image.file_system
        file = next(number for number, one in tree.inode_table.items() if isinstance(one, RegularInode) and one.size)
        lost = {**tree.inode_table, file: replaced(tree.inode_table[file], hash=bytes(range(64)))}
        bare = replaced(tree, directory_inode=replaced(tree.directory_inode, entry_list=[]), inode_table={})
        assert f"image: {tiny} already exists" == refused(tiny, image)
        assert "tiny/v2: an image without a tree" == refused("tiny/v2", replaced(image, file_system=None))
        assert "tiny/v2: no image was sent" == refused("tiny/v2", None)
        assert "1 objects are missing, the first is 000102" in refused(
            "tiny/v2", replaced(image, file_system=replaced(tree, inode_table=lost))
        )
        longer = {**tree.inode_table, file: replaced(tree.inode_table[file], size=tree.inode_table[file].size + 1)}
        words = refused("tiny/v2", replaced(image, file_system=replaced(tree, inode_table=longer)))
        assert words == f"tiny/v2: object {tree.inode_table[file].hash.hex()} has not {longer[file].size} bytes"
        filtered = replaced(image, file_system=bare, filter=Filter([]))
        assert "tiny/v2: /etc is missing: expected in an image that has a filter" == refused("tiny/v2", filtered)
        assert "image name 'tiny': expected DIRECTORY/NAME" == refused("tiny", image)
        assert "stream name 'tiny/../etc'" in refused("tiny/../etc", image)
        assert refusal(peer, "ImageServer.Nope") == "ImageServer: unknown method: Nope"


def replaced(value: Any, **changes: Any) -> Any:
    """A message with other fields."""
    fields = {name: getattr(value, name) for name in value.__struct_fields__}
    return type(value)(**{**fields, **changes})
