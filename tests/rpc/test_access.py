"""What those are told who may not call (`tests/integration/test_access.py` has who may call what)."""

from __future__ import annotations

import pytest
import pytest_twisted

from imaginator.rpc.certificates import Wish
from imaginator.rpc.client import Credentials, RpcError
from tests.support.rpc_site import RpcSite

SUBMIT = {"StreamName": "base/web", "ExpiresIn": 3600}


async def refusal(site: RpcSite, credentials: Credentials, method: str, **parameters: object) -> tuple[int, str]:
    """The code and the sentence of a call that is refused; nothing is queued by it."""
    with pytest.raises(RpcError) as caught:
        await site.call(credentials, method, **parameters)
    assert {} == site.builder.records
    return caught.value.code, caught.value.message


@pytest_twisted.ensureDeferred
async def test_not_permitted(site: RpcSite) -> None:
    """The original's words for a stream; the method's name where it is the method that is not permitted."""
    bob = site.certify(Wish("bob"))

    assert (-32002, "no permission to build: base/web") == await refusal(site, bob, "Imaginator.SubmitBuild", **SUBMIT)
    assert (-32002, "no permission to call: Imaginator.DisableAutoBuilds") == await refusal(
        site, bob, "Imaginator.DisableAutoBuilds", DisableFor=0
    )


@pytest_twisted.ensureDeferred
async def test_not_authenticated(site: RpcSite) -> None:
    """Somebody without a certificate learns that one is needed."""
    anonymous = Credentials(authority=site.files / "CA.pem")

    assert (-32001, "no client certificate was shown") == await refusal(
        site, anonymous, "Imaginator.SubmitBuild", **SUBMIT
    )
