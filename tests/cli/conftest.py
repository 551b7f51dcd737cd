"""builder-tool as a process of its own, against a served JSON-RPC resource."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest
import pytest_twisted
from twisted.internet.threads import deferToThread
from twisted.internet.utils import getProcessOutputAndValue

from imaginator.rpc.certificates import Wish
from tests.support.fake_builder import FakeBuilder
from tests.support.rpc_site import RpcSite

ROOT = Path(__file__).parents[2]


class Said(NamedTuple):
    """What a run of the tool printed, and its exit status."""

    out: str
    err: str
    status: int


class Tool:
    """builder-tool with alice's certificate in ``~/.ssl``."""

    def __init__(self, site: RpcSite, home: Path) -> None:
        self.site = site
        self.home = home
        self.where = [f"--imaginator-port={site.port}", "--imaginator-hostname=127.0.0.1"]
        self.argv = [sys.executable, "-c", "from imaginator.cli.main import main; main()"]
        self.environment = {"HOME": str(home), "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TZ": "UTC"}

    async def run(self, *arguments: str) -> Said:
        """Run the tool to its end."""
        return await self.run_plainly(*self.where, *arguments)

    async def run_plainly(self, *arguments: str) -> Said:
        """Run the tool without telling it where the daemon is."""
        out, err, status = await getProcessOutputAndValue(
            self.argv[0], [*self.argv[1:], *arguments], self.environment, path=str(self.home)
        )
        return Said(out.decode(), err.decode(), status)

    async def submitted(self) -> str:
        """The id of the first build, as soon as somebody asked for one."""
        while not self.site.builder.records:
            await deferToThread(lambda: None)
        return next(iter(self.site.builder.records))


@pytest_twisted.async_yield_fixture
async def site(tmp_path: Path) -> AsyncIterator[RpcSite]:
    """A site whose builder knows one stream, which alice may build."""
    served = RpcSite(tmp_path, FakeBuilder({"base/web": ["alice"]}))
    served.listen()
    yield served
    await served.close()


@pytest.fixture
def tool(site: RpcSite, tmp_path: Path) -> Tool:
    """The tool of alice, who has her files where they belong."""
    home = tmp_path / "home"
    (home / ".ssl").mkdir(parents=True)
    credentials = site.certify(Wish("alice"))
    assert credentials.certificate is not None
    assert credentials.key is not None
    credentials.certificate.rename(home / ".ssl" / "cert.pem")
    credentials.key.rename(home / ".ssl" / "key.pem")
    site.authority.write(home / ".ssl" / "CA.pem", None)
    return Tool(site, home)
