"""A served JSON-RPC resource for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_twisted

from imaginator.model.identity import Trusted
from tests.support.fake_builder import FakeBuilder
from tests.support.rpc_site import RpcSite

TRUSTED = Trusted(users=frozenset({"root-user"}), groups=frozenset({"root-group"}))


@pytest_twisted.async_yield_fixture
async def site(tmp_path: Path) -> AsyncIterator[RpcSite]:
    """A site whose builder knows one stream, which alice may build."""
    served = RpcSite(tmp_path, FakeBuilder({"base/web": ["alice"]}), TRUSTED)
    served.listen()
    yield served
    await served.close()
