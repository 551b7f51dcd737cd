"""What a packager downloads, shared by all builds of one packager type and kept outside their images.

While the steps of the packager run that may use the network, they see at the definition's directory a view of the
cache (`imaginator.sandbox.offering`), which hides the image's own; new files go into the cache when all steps have
succeeded. A cache that does not work makes a build slower, and never fails it.

Whoever may write a manifest is root in its build and can put a wrong file under a right name into the cache. So files
are offered only where the packager checks them. Measured with apt 2.6 and a package of equal size but other content
(apt 3.0 refuses and accepts the same):

- in ``/var/cache/apt/archives`` it is installed: apt compares its size alone;
- in ``archives/partial`` apt hashes a file of the right size before it asks the server; the right one is moved to
  ``archives`` without a request, whatever its owner, mode and time; a wrong or too long one is downloaded anew, and
  the shorter beginning of a right one is completed where the server knows ranges.

So for apt ``OfferIn`` is ``partial``. Files there that it does not need, it leaves alone. A packager that checks every
file of its cache, as pacman and apk say of themselves, needs no ``OfferIn``.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from imaginator.build.construction import Construction
from imaginator.model.errors import BuildFailed
from imaginator.model.image import Image
from imaginator.model.packagers import PackageCache
from imaginator.model.settings import Settings
from imaginator.sandbox.sandbox import Bind
from imaginator.store.packages import Packages


class Downloads(NamedTuple):
    """Where one packager type's downloads are kept, and where its packager looks for them."""

    packages: Packages
    packager_type: str
    definition: PackageCache

    @property
    def target(self) -> bytes:
        """The packager's own directory in the image."""
        return os.fsencode(self.definition.directory)


def downloads_of(packages: Packages, settings: Settings, source: Image) -> Downloads | None:
    """The downloads for a build over ``source``; None where its packager type has no cache, or is not known."""
    packager = settings.packager_types.get(source.packager_type)
    if packager is None or packager.package_cache is None or not packages.limit:
        return None
    return Downloads(packages, source.packager_type, packager.package_cache)


@asynccontextmanager
async def offered(downloads: Downloads | None, construction: Construction) -> AsyncIterator[tuple[Bind, ...]]:
    """The mounts by which the packager sees its cache; what it downloaded is kept where the context ends well."""
    if downloads is None:
        yield ()
        return
    stubs, binds = await _open(downloads, construction)
    yield binds
    if binds:
        await _keep(downloads, construction)
    await construction.tree.remove_mount_points(stubs)


async def _open(downloads: Downloads, construction: Construction) -> tuple[list[bytes], tuple[Bind, ...]]:
    """The mount points that were made, and what is to be mounted; nothing where the cache cannot be used."""
    target = downloads.target
    stubs: list[bytes] = []
    try:
        place = downloads.packages.place(downloads.packager_type)
        stubs = await construction.tree.make_mount_points([target])
        found = await construction.tree.offer_packages(target, place, downloads.definition.offer_in)
    except (BuildFailed, OSError) as error:
        construction.monitor.note(f"package cache: not used: {error}")
        return stubs, ()
    if found is None:
        construction.monitor.note(f"package cache: not used: {os.fsdecode(target)} is no directory of the image")
        return stubs, ()
    directory, count = found
    construction.monitor.note(f"package cache: {count} files offered")
    return stubs, (Bind(directory, target, writable=True),)


async def _keep(downloads: Downloads, construction: Construction) -> None:
    try:
        kept, used = await construction.tree.keep_packages(downloads.definition.suffix, downloads.packages.limit)
        await downloads.packages.trim()
    except (BuildFailed, OSError) as error:
        construction.monitor.note(f"package cache: nothing kept: {error}")
    else:
        construction.monitor.note(f"package cache: {used} files used, {kept} new")
