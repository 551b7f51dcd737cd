"""The steps of a bootstrap build: the operator's command fills an empty directory, which then becomes an image."""

from __future__ import annotations

import shlex
from pathlib import Path

from imaginator.build import packager
from imaginator.build.construction import ONLINE, Construction
from imaginator.build.job import Job
from imaginator.build.matching import Matching
from imaginator.build.recipe import DEVICES, SYSTEM_MOUNTS, clean, list_and_test
from imaginator.model.architectures import foreign_architecture
from imaginator.model.build import Stage
from imaginator.model.errors import BuildFailed
from imaginator.model.image import Package
from imaginator.model.packagers import PackagerType
from imaginator.model.settings import BootstrapStream
from imaginator.model.variables import expand


async def fill(host: Construction, job: Job, definition: BootstrapStream, root: Path) -> None:
    """Run the bootstrap command on the empty directory ``root``; raises `BuildFailed` with its last lines.

    ``host`` is a construction whose commands see the host's own tree: the command is the operator's.
    """
    host.monitor.stage(Stage.BOOTSTRAP)
    variables = {**job.request.variables, "ARCH": job.arch, "dir": str(root)}
    argv = [expand(word, variables) for word in definition.bootstrap_command]
    host.monitor.note(f"$ {shlex.join(argv)}")
    try:
        await host.command(argv[0], argv, ONLINE)
    except BuildFailed as error:
        if foreign := foreign_architecture(job.stream_name, job.arch):
            problem = f"{job.stream_name} names the architecture {foreign}, this host's is {job.arch}"
            raise BuildFailed(f"{problem}: {error}") from None
        raise


async def furnish(image: Construction, packager_type: PackagerType, matching: Matching) -> tuple[Package, ...]:
    """Give a freshly filled tree its packager script, clean, list and test it; the packages. Raises `BuildFailed`."""
    tree = image.tree
    await tree.write(packager.PATH, packager.generic_packager_script(packager_type), 0o755)
    stubs = await tree.make_mount_points([DEVICES, *SYSTEM_MOUNTS])
    image.monitor.stage(Stage.CLEAN)
    await clean(image, matching)
    packages = await list_and_test(image, image.network)
    await tree.remove_mount_points(stubs)
    return packages
