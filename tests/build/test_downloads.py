"""Where a build's packager sees the cache, and when it goes without."""

from __future__ import annotations

from pathlib import Path

import pytest
import pytest_twisted

from imaginator.build.construction import Construction
from imaginator.build.downloads import Downloads, downloads_of, offered
from imaginator.build.monitor import Monitor
from imaginator.model.build import Stage
from imaginator.model.packagers import PackageCache, PackagerType
from imaginator.model.settings import Settings
from imaginator.model.tree import Inode, Kind
from imaginator.sandbox.sandbox import Workspace
from imaginator.store.packages import Packages
from tests.support.real_reactor import reactor
from tests.support.sandboxes import opened, small_tree
from tests.support.store_parts import Forest, StoreParts, draft, running_store

DEFINITION = PackageCache("/var/cache/packages", "partial", ".deb")


class Notes(Monitor):
    """A monitor that remembers what the build itself says."""

    def __init__(self) -> None:
        self.text = ""

    def stage(self, stage: Stage) -> None:
        """Stages do not matter here."""

    def log(self, data: bytes) -> None:
        """Nor does output."""

    def note(self, text: str) -> None:
        """Remember a line."""
        self.text += f"{text}\n"


def definition_for(parts: StoreParts, limit: int, packager_type: str) -> PackageCache | None:
    """What a build over an image of a packager type works with, where ``deb`` has a cache and ``bare`` has none."""
    types = {"deb": PackagerType(package_cache=DEFINITION), "bare": PackagerType()}
    image = draft("s", Forest().plant({b"/": Inode(Kind.DIRECTORY, 0o755)}), packager_type=packager_type)
    found = downloads_of(
        Packages(parts.directory / "packages", limit, parts.workers), Settings(packager_types=types), image
    )
    return found.definition if found else None


@pytest_twisted.ensureDeferred
async def test_who_has_a_cache(tmp_path: Path) -> None:
    """The packager type of the source image decides, and the limit; images of old name none."""
    async with running_store(tmp_path) as parts:
        assert DEFINITION == definition_for(parts, 1, "deb")
        assert [None] * 4 == [
            definition_for(parts, limit, name) for limit, name in ((0, "deb"), (1, "bare"), (1, ""), (1, "gone"))
        ]


@pytest.mark.parametrize("directory", ["/etc/passwd/below/a/file", "/etc/passwd", "/link", "/link/below"])
@pytest_twisted.ensureDeferred
async def test_a_place_that_cannot_be_used(tmp_path: Path, directory: str) -> None:
    """Where a file or a link is in the way the build goes without, says so, and nothing is left in the image."""
    source = small_tree(tmp_path / "source")
    (source / "elsewhere").mkdir()
    (source / "link").symlink_to("elsewhere")
    monitor = Notes()
    async with running_store(tmp_path) as parts, opened(Workspace(tmp_path / "build", (source,))) as sandbox:
        construction = Construction(reactor, sandbox, monitor, {}, network=False)
        packages = Packages(tmp_path / "packages", 1 << 30, parts.workers)
        async with offered(Downloads(packages, "deb", PackageCache(directory)), construction) as binds:
            pass
        left = [path for path in await sandbox.tree.changed_paths() if b"below" in path]

    assert () == binds
    assert "package cache: not used: " in monitor.text
    assert [] == left
