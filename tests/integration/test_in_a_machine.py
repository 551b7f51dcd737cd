"""Builds under the hardened unit, on a machine whose image this program has built: systemd, control groups version 2.

Debian's own kernel runs it. Where the processor has no virtualisation to offer the machine is emulated, which takes
some two minutes: ``make machine``.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from demo.daemon import Daemon
from tests.integration.conftest import new_site
from tests.integration.test_on_a_host import configure
from tests.support.base_tree import base_tar, unpack_command
from tests.support.debian_host import PACKAGES, built_package
from tests.support.live import PROVING, Live
from tests.support.virtual_machine import VirtualMachine, accelerator, debian_kernel

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(
        accelerator() != "kvm" and "IMAGINATOR_MACHINE" not in os.environ,
        reason="the processor runs no virtual machines here: make machine emulates one, in two minutes",
    ),
]

SECONDS = 2400
INSTALL = """#!/bin/sh
set -e
DEBIAN_FRONTEND=noninteractive dpkg --install --force-confold /root/imaginator.deb
echo 'FLAGS="--build-memory 64M --build-processes 60"' >> /etc/default/imaginator
"""
GREEDY = "#!/bin/sh\ndd if=/dev/zero of=/dev/null bs=200M count=1\n"

EXPERIMENT = """
page() {
    python3 -c "import urllib.request as r; print(r.urlopen('http://127.0.0.1:6975/$1', timeout=60).read().decode())"
}
wait_for() { for attempt in $(seq 300); do "$@" && return; sleep 1; done; echo "waited in vain: $*"; return 1; }
has_image() { page listImages | grep -q "^[^ ]*$1/20\\|[\\">]$1/20"; }
met_its_limit() { page "showLastBuildLog?$1" | grep -q "memory: the build's limit was reached"; }

systemctl start imaginator || { journalctl --unit imaginator --no-pager; exit 1; }
echo "active: $(systemctl is-active imaginator)"
unit=$(systemctl show -P ControlGroup imaginator)
group=/sys/fs/cgroup$unit
echo "daemon: $(sed "s,^0::$unit,," /proc/$(systemctl show -P MainPID imaginator)/cgroup)"
echo "controllers: $(tr ' ' '\\n' < "$group/imaginator/cgroup.subtree_control" | sort | tr '\\n' ' ')"
wait_for has_image small && echo "small: built"
wait_for has_image over && echo "over: built"
wait_for met_its_limit greedy && echo "greedy: stopped"
journalctl --unit imaginator --no-pager | tail -n 40
echo "at the top: $(ls -d /sys/fs/cgroup/imaginator 2> /dev/null)"
mounts=$(grep -c . /proc/mounts)
systemctl stop imaginator.socket imaginator
echo "stopped: $(systemctl show -P Result imaginator)"
echo "left: $(ls -d "$group" 2> /dev/null)$(pgrep -f imaginator.sandbox)"
echo "mounts: $(( $(grep -c . /proc/mounts) - mounts ))"
"""


@pytest.fixture
def machine(tmp_path: Path) -> VirtualMachine:
    """Made of an image that a daemon here builds over the Debian that the tests share, with the package installed."""
    site = new_site(tmp_path / "site")
    unpack = unpack_command(base_tar(tmp_path, PACKAGES))
    site.configure({"host": unpack}, {})
    live = Live(site, Daemon(site, *PROVING))
    live.daemon.start()
    try:
        live.add_stream("machine", {"manifest": '{"SourceImage": "host"}', "scripts/install": INSTALL})
        fill(site.repository / "machine" / "files", tmp_path)
        site.commit("what is installed, and its configuration")
        live.build("host")
        image = str(live.build("machine")["ImageName"])
        live.tool("get-image", image, "-o", str(tmp_path / "machine.tar"))
    finally:
        live.close()
    return VirtualMachine(debian_kernel(), tmp_path / "machine.tar", tmp_path)


def fill(files: Path, scratch: Path) -> None:
    """The package, and the configuration of its daemon."""
    for folder in ("root", "srv/manifests", "etc/imaginator"):
        (files / folder).mkdir(parents=True)
    shutil.copy(built_package(scratch / "package"), files / "root" / "imaginator.deb")
    configure(files, greedy=GREEDY)


def test_builds_under_the_unit(machine: VirtualMachine) -> None:
    """They are built, in groups below the unit's, within their limits; nothing is left when it stops."""
    status, output = machine.run_booted(EXPERIMENT, timeout=SECONDS)
    print(output)
    said = dict(line.split(": ", 1) for line in output.splitlines() if ": " in line)

    assert 0 == status
    assert "active" == said["active"]
    assert "/daemon" == said["daemon"]
    assert ["cpu", "memory", "pids"] == said["controllers"].split()
    assert "built" == said["small"] == said["over"]
    assert "stopped" == said["greedy"]
    assert "at the top: \n" in output
    assert "success" == said["stopped"]
    assert "left: \n" in output
    assert "mounts: 0" in output
