"""Changing when images expire, and deleting them: who may, and what is refused; over real TLS."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
import pytest_twisted

from imaginator.model.image import Image, Origin, Owners
from imaginator.rpc.certificates import Wish
from imaginator.rpc.client import RpcError
from tests.support.fake_builder import EMPTY_ROOT, START, FakeStore
from tests.support.rpc_site import RpcSite

NAME = "base/web/2026-11-22:23:38:05"
EXPIRY = START + timedelta(hours=1)
IMAGE = Image(
    name=NAME,
    root=EMPTY_ROOT,
    created_at=START,
    expires_at=EXPIRY,
    origin=Origin(created_for="ann"),
    owners=Owners(users=("bob",), groups=("web",)),
)
PAST = f"expiration time {START.isoformat()} is past: an image that is to go can be deleted"
CHANGE = "ImageServer.ChangeImageExpiration"
DELETE = "ImageServer.DeleteImage"

ALLOWED = {
    "created for": Wish("ann"),
    "owner": Wish("bob"),
    "owning group": Wish("cid", groups=["db", "web"]),
    "trusted user": Wish("root-user"),
    "trusted group": Wish("cid", groups=["root-group"]),
    "methods by pattern": Wish("cid", methods=["ImageServer.*"]),
}
REFUSED = {
    "stranger": Wish("cid"),
    "stream's builder": Wish("alice"),
    "other group": Wish("cid", groups=["db", "ann"]),
    "other methods": Wish("cid", methods=["Imaginator.*", "ImageServer.ListImages"]),
}
FULL = Wish("root-user")


@pytest.fixture
def images(site: RpcSite) -> dict[str, Image]:
    """The images of the site: one."""
    assert isinstance(site.builder.store, FakeStore)
    site.builder.store.images[NAME] = IMAGE
    return site.builder.store.images


async def change(site: RpcSite, who: Wish, **parameters: Any) -> Any:
    """Ask for another time."""
    return await site.call(site.certify(who), CHANGE, ImageName=NAME, **parameters)


@pytest.mark.parametrize("who", ALLOWED)
@pytest_twisted.ensureDeferred
async def test_owners_and_full_access(site: RpcSite, images: dict[str, Image], who: str) -> None:
    """They extend, and they delete."""
    until = START + timedelta(hours=24)
    answer = await change(site, ALLOWED[who], ExpiresAt=until.isoformat())
    kept = images[NAME].expires_at
    deleted = await site.call(site.certify(ALLOWED[who]), DELETE, ImageName=NAME)

    assert (until, {}) == (kept, images)
    assert (NAME, until) == (answer["ImageName"], datetime.fromisoformat(answer["ExpiresAt"]))
    assert {"ImageName": NAME} == deleted


@pytest.mark.parametrize("who", REFUSED)
@pytest_twisted.ensureDeferred
async def test_everybody_else(site: RpcSite, images: dict[str, Image], who: str) -> None:
    """Others may neither extend, nor shorten, nor delete."""
    credentials = site.certify(REFUSED[who])
    for method, parameters in (
        (CHANGE, {"ExpiresAt": (EXPIRY + timedelta(hours=1)).isoformat()}),
        (CHANGE, {"ExpiresAt": (EXPIRY - timedelta(minutes=1)).isoformat()}),
        (CHANGE, {"Pinned": True}),
        (DELETE, {}),
    ):
        with pytest.raises(RpcError) as caught:
            await site.call(credentials, method, ImageName=NAME, **parameters)
        assert (-32002, f"no permission to change: {NAME}") == (caught.value.code, caught.value.message)

    assert {NAME: IMAGE} == images


@pytest.mark.parametrize(
    ("who", "wish", "sentence"),
    [
        (Wish("ann"), {"ExpiresAt": START + timedelta(hours=25)}, "maximum expiration time is 1d for you"),
        (Wish("ann"), {"Pinned": True}, "maximum expiration time is 1d for you"),
        (Wish("ann"), {"ExpiresAt": START + timedelta(hours=731)}, "maximum expiration time is 30d10h"),
        (FULL, {"ExpiresAt": START + timedelta(hours=731)}, "maximum expiration time is 30d10h"),
        (FULL, {"ExpiresAt": START}, PAST),
    ],
)  # fmt: skip
@pytest_twisted.ensureDeferred
async def test_out_of_limits(
    site: RpcSite, images: dict[str, Image], who: Wish, wish: dict[str, Any], sentence: str
) -> None:
    """The sentence tells the limit that was broken, and nothing changes."""
    plain = {name: value if value is True else value.isoformat() for name, value in wish.items()}
    with pytest.raises(RpcError) as caught:
        await change(site, who, **plain)

    assert (-32004, sentence) == (caught.value.code, caught.value.message)
    assert {NAME: IMAGE} == images


@pytest.mark.parametrize(
    ("who", "hours"),
    [(Wish("ann"), 24), (FULL, 730), (FULL, None), (Wish("ann"), 0.01)],
    ids=["owner's most", "most", "pinned", "sooner"],
)
@pytest_twisted.ensureDeferred
async def test_within_limits(site: RpcSite, images: dict[str, Image], who: Wish, hours: float | None) -> None:
    """The limits themselves are allowed; full access may pin, and an image may always expire sooner."""
    until = None if hours is None else START + timedelta(hours=hours)
    answer = await change(site, who, **({"Pinned": True} if until is None else {"ExpiresAt": until.isoformat()}))

    assert (until, until is None) == (images[NAME].expires_at, answer["Pinned"])


@pytest_twisted.ensureDeferred
async def test_a_pinned_image_gets_a_time_again(site: RpcSite, images: dict[str, Image]) -> None:
    """Whatever the time, it is sooner than never."""
    await change(site, FULL, Pinned=True)
    until = START + timedelta(days=100)
    await change(site, Wish("ann"), ExpiresAt=until.isoformat())

    assert until == images[NAME].expires_at


@pytest.mark.parametrize(
    "wish",
    [
        {},
        {"ExpiresAt": EXPIRY.isoformat(), "Pinned": True},
        {"ExpiresAt": "2026-11-23T00:00:00"},
        {"ExpiresAt": "soon"},
    ],
    ids=["neither", "both", "without a zone", "no time"],
)
@pytest_twisted.ensureDeferred
async def test_what_makes_no_sense(site: RpcSite, images: dict[str, Image], wish: dict[str, Any]) -> None:
    """One of a time and pinning has to be given, and a time says of which zone it is."""
    with pytest.raises(RpcError) as caught:
        await change(site, FULL, **wish)

    assert (-32602, {NAME: IMAGE}) == (caught.value.code, images)


@pytest.mark.parametrize(("method", "wish"), [(CHANGE, {"Pinned": True}), (DELETE, {})])
@pytest_twisted.ensureDeferred
async def test_no_such_image(site: RpcSite, method: str, wish: dict[str, Any]) -> None:
    """There is nothing to change; a stream is no image."""
    codes = []
    for name in (NAME, "base/web"):
        with pytest.raises(RpcError) as caught:
            await site.call(site.certify(FULL), method, ImageName=name, **wish)
        codes.append(caught.value.code)

    assert [-32003, -32602] == codes
