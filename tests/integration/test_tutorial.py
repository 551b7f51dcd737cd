"""The tutorial as it stands in the documentation, typed by a test: from an empty folder to a machine that boots."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from demo.site import read_sample
from tests.support.apt_repository import Repository
from tests.support.base_tree import base_tar, closed_command
from tests.support.debian_host import APART, PACKAGES, forget_groups
from tests.support.documented import blocks, typed
from tests.support.ports import free_port

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]


def sample(folder: Path, bootstrap: list[str]) -> Path:
    """The sample of a main configuration with another bootstrap command."""
    main = read_sample()
    (stream,) = main["BootstrapStreams"].values()
    stream["BootstrapCommand"] = bootstrap
    path = folder / "sample.json"
    path.write_text(json.dumps(main))
    return path


def for_this_host(text: str, configuration: Path, flags: str) -> str:
    """The commands for a host whose port may be taken, whose configuration is elsewhere and whose init is another."""
    there = text.replace("/etc/imaginator/conf.json", str(configuration))
    free = re.sub("^imaginator", f"imaginator {flags}", there, flags=re.MULTILINE)
    return re.sub("^systemd-nspawn", "systemd-nspawn --register=no --keep-unit", free, flags=re.MULTILINE)


def test_every_step(tmp_path: Path) -> None:
    """Each succeeds, the message is in the tree, and the machine says that it is up; its packages are there before."""
    port = free_port()
    flags = tmp_path / ".config" / "builder-tool"
    flags.mkdir(parents=True)
    (flags / "flags.default").write_text(f"imaginator-port={port}\n")
    (tmp_path / ".gitconfig").write_text("[user]\n    name = me\n    email = me@localhost\n")
    repository = Repository(tmp_path / "repository")
    repository.add("dbus", {})
    with repository.serve():
        bootstrap = closed_command(base_tar(tmp_path, PACKAGES), repository.source, tmp_path / "bootstrap")
        here = " ".join(("--port", str(port), *repository.flags))
        script = "echo $$ > pid; trap 'kill $(jobs -p) 2> /dev/null || :; wait' EXIT\n" + for_this_host(
            "\n".join(blocks("tutorial.rst")), sample(tmp_path, bootstrap), here
        )
        try:
            said = typed(script, tmp_path, shell=["sh", "-c", APART, "apart", "bash", "-c"], seconds=500)
        finally:
            forget_groups(int((tmp_path / "pid").read_text()))

    assert 2 == len(set(re.findall(r"^machine/20\S+", said, re.MULTILINE)))
    assert "Nobody changes a machine" in said
    assert "the machine is up" in said
