"""The package on a Debian host: installed, started by its init script and by systemd, upgraded, purged."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from imaginator import __version__
from tests.support.debian_host import Host, SystemdHost, built_package, host_tree, until
from tests.support.documented import blocks
from tests.support.small_system import BOOTSTRAP_SCRIPT, SMALL_PACKAGER

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

SCRIPT = """#!/bin/sh
set -e
echo built > /etc/greeting
chown 1000:1000 /etc/greeting
chmod 4755 /etc/greeting
mknod /etc/node c 240 7
"""
OWNED = (
    "/etc/imaginator",
    "/etc/default/imaginator",
    "/etc/init.d/imaginator",
    "/usr/lib/imaginator",
    "/usr/bin/imaginator",
)
LASTING = ("/var/lib/imaginator", "/var/log/imaginator")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, built once."""
    return built_package(tmp_path_factory.mktemp("package"))


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory, package: Path) -> Path:
    """A Debian with the package, and a configuration that needs no mirror: one system, and one that builds on it."""
    tree = host_tree(tmp_path_factory.mktemp("host"))
    install(tree, package)
    configure(tree)
    return tree


def install(tree: Path, package: Path) -> None:
    """Do what the documentation says, where the package is made already, up to the start."""
    (tree / "root" / "dist").mkdir()
    shutil.copy(package, tree / "root" / "dist")
    (block,) = blocks("installing.rst", "Install")
    made, *commands, started = block.splitlines()
    assert "make deb" in made
    assert "systemctl start imaginator" in started
    with Host(tree) as host:
        host.sh("\n".join(["set -e; cd /root", *commands]))


def configure(tree: Path, **scripts: str) -> None:
    """The small system, and ``over``, whose script does what only a real root's builds can; more have others."""
    (tree / "srv" / "small-bootstrap").write_text(BOOTSTRAP_SCRIPT)
    names = {"over": SCRIPT, **scripts}
    for name, script in names.items():
        manifest = tree / "srv" / "manifests" / name
        (manifest / "scripts").mkdir(parents=True)
        (manifest / "manifest").write_text('{"SourceImage": "small"}')
        (manifest / "scripts" / "1").write_text(script)
    main = {
        "BootstrapStreams": {
            "small": {"BootstrapCommand": ["sh", "/srv/small-bootstrap", "$dir"], "PackagerType": "small"}
        },
        "ImageStreamsToAutoRebuild": list(names),
        "ImageStreamsUrl": "file:///etc/imaginator/streams.json",
        "PackagerTypes": {"small": SMALL_PACKAGER},
    }
    streams = {name: {"ManifestUrl": "dir:///srv/manifests", "ManifestDirectory": name} for name in names}
    (tree / "etc" / "imaginator" / "conf.json").write_text(json.dumps(main))
    (tree / "etc" / "imaginator" / "streams.json").write_text(json.dumps({"Streams": streams}))


@pytest.fixture
def host(tree: Path) -> Iterator[Host]:
    """The host without systemd."""
    with Host(tree) as host:
        yield host
        host.run("service", "imaginator", "stop")


def daemon(host: Host) -> int:
    """The daemon's process, as its init script knows it."""
    return int(host.sh("cat /run/imaginator/daemon.pid"))


def images(host: Host) -> list[str]:
    """The streams that have an image."""
    text = host.page("listImages")
    return [stream for stream in ("small", "over") if f"{stream}/20" in text]


def active(host: Host) -> bool:
    """Whether systemd knows that the daemon serves."""
    return host.run("systemctl", "is-active", "imaginator").stdout.strip() == "active"


def test_an_init_script_starts_and_stops(host: Host) -> None:
    """Start twice is harmless; status tells, with the statuses that LSB has; stop leaves nothing."""
    assert 3 == host.run("service", "imaginator", "status").returncode
    started = host.sh("service imaginator start")
    until(host.answers)
    first = daemon(host)
    again = host.sh("service imaginator start")
    status = host.sh("service imaginator status")
    sitters = [line for line in host.processes() if "babysit" in line]
    stopped = host.sh("service imaginator stop")

    assert "imaginator: started" == started
    assert "imaginator: is running already" == again
    assert f"imaginator: is running, process {first}" == status
    assert 1 == len(sitters)
    assert "imaginator: stopped" == stopped
    assert [] == host.processes()
    assert "lock" == host.sh("ls /run/imaginator")
    assert "imaginator: is not running" == host.sh("service imaginator stop")
    assert 3 == host.run("service", "imaginator", "status").returncode


def test_it_builds(host: Host) -> None:
    """The streams of its configuration, with no other preparation."""
    host.sh("service imaginator start")
    until(host.answers)
    until(lambda: ["small", "over"] == images(host))

    assert "listening on port 6975" in host.sh("cat /var/log/imaginator/imaginator.log")


def test_a_killed_daemon_is_started_again(host: Host) -> None:
    """The baby-sitter does it within seconds, with the images that there were."""
    host.sh("service imaginator start")
    until(lambda: host.answers() and ["small", "over"] == images(host))
    first = daemon(host)
    host.sh(f"kill -9 {first}")
    # The file is away while nothing runs.
    until(lambda: host.run("cat", "/run/imaginator/daemon.pid").stdout.strip() not in ("", str(first)))
    until(host.answers)

    assert ["small", "over"] == images(host)


def test_a_killed_baby_sitter(host: Host) -> None:
    """The daemon ends with it, and the next start works."""
    host.sh("service imaginator start")
    until(host.answers)
    host.sh("kill -9 $(cat /run/imaginator/baby-sitter.pid)")
    until(lambda: [] == host.processes())

    assert "imaginator: started" == host.sh("service imaginator start")


def test_restart_and_reload(host: Host) -> None:
    """A restart is another process; force-reload has the same one read its configuration again."""
    host.sh("service imaginator start")
    until(host.answers)
    first = daemon(host)
    host.sh("service imaginator restart")
    until(host.answers)
    second = daemon(host)
    host.sh("service imaginator force-reload")
    log = "/var/log/imaginator/imaginator.log"
    until(lambda: "reading certificates and configuration again" in host.sh(f"cat {log}"))

    assert first != second == daemon(host)


def test_a_crash_loop_backs_off(host: Host) -> None:
    """Start tells why; each pause is twice as long as the one before, and stop ends even that."""
    host.sh("echo 'FLAGS=--no-such-flag' >> /etc/default/imaginator")
    try:
        started = host.run("service", "imaginator", "start")
        ended = [line for line in host.processes() if "sleep" in line]
        pauses: list[str] = []

        def seen() -> int:
            words = host.run("cat", "/run/imaginator/ended").stdout.partition(" s:")[0].rpartition(" ")[2]
            pauses.extend([words] if words and words not in pauses else [])
            return len(pauses)

        until(lambda: seen() >= 4)
        status = host.run("service", "imaginator", "status").returncode
        host.sh("service imaginator stop")
    finally:
        host.sh("sed -i '/no-such-flag/d' /etc/default/imaginator")

    assert 1 == started.returncode
    assert "no-such-flag" in started.stdout
    assert 1 >= len(ended)
    assert ["1", "2", "4", "8"] == pauses[:4]
    assert status in (0, 1)  # 0 while it is being tried
    assert [] == host.processes()


def test_under_systemd(tree: Path) -> None:
    """The unit as it is, hardening and all: ready when it says so, restarted when it is killed, and it builds.

    The socket outlives the daemon: who connects while it is down is answered when it is up again.
    """
    with SystemdHost(tree) as host:
        host.sh("systemctl stop imaginator; rm -rf /var/lib/imaginator/*; systemctl start imaginator")
        ready = host.page()
        first = host.sh("systemctl show -P MainPID imaginator")
        until(lambda: ["small", "over"] == images(host))
        host.sh("systemctl kill -s KILL --kill-who=main imaginator")
        until(lambda: host.sh("systemctl show -P MainPID imaginator") not in ("0", first))
        again = host.page()
        host.sh("systemctl stop imaginator")
        left = [line for line in host.processes() if "imaginator" in line]
        woken = host.page()
        until(lambda: active(host))
        checked = host.sh(blocks("maintenance.rst", "Checking the store")[0])
        delegated = host.sh("service imaginator status")
        host.sh("systemctl stop imaginator.socket imaginator")
        ended = host.sh("systemctl show -P Result imaginator")
        exposure = host.sh("systemd-analyze security --no-pager imaginator | tail -n 1")

    assert "ok" == ready == again == woken
    assert [] == left
    assert "damaged" not in checked
    assert "images" in checked
    assert "Active: active (running)" in delegated
    assert "success" == ended
    assert float(exposure.partition("imaginator.service: ")[2].split()[0]) <= 6.6


def test_a_daemon_that_hangs(tree: Path) -> None:
    """Systemd, which hears nothing of it, kills it and starts another."""
    with SystemdHost(tree) as host:
        unit = "/etc/systemd/system/imaginator.service.d"
        host.sh(f"mkdir {unit}; printf '[Service]\nWatchdogSec=3s\nTimeoutAbortSec=1s\n' > {unit}/soon.conf")
        host.sh("systemctl daemon-reload; systemctl restart imaginator")
        first = host.sh("systemctl show -P MainPID imaginator")
        host.sh(f"kill -STOP {first}")
        until(lambda: host.sh("systemctl show -P NRestarts imaginator") == "1")
        until(lambda: active(host))
        answer = host.page()
        told = host.sh("journalctl --unit imaginator --no-pager")
        host.sh(f"systemctl stop imaginator.socket imaginator; rm -r {unit}")

    assert "ok" == answer
    assert "Watchdog timeout" in told


NEXT_MIGRATION = "ALTER TABLE images ADD COLUMN of_the_next INTEGER"


def next_version(package: Path, folder: Path) -> tuple[Path, int]:
    """The package as a later version of it would be, whose catalogue has a step more; the number of that step."""
    parts = folder / "parts"
    subprocess.run(["dpkg-deb", "-R", package, parts], check=True)
    control = parts / "DEBIAN" / "control"
    control.write_text(control.read_text().replace(f"Version: {__version__}", "Version: 99.0"))
    (program,) = parts.glob("usr/lib/imaginator/lib/python*/site-packages/imaginator")
    (program / "__init__.py").write_text('"""A later version."""\n\n__version__ = "99.0"\n')
    for compiled in (program / "__pycache__").glob("__init__.*"):
        compiled.unlink()
    number = 1 + len(list((program / "store" / "migrations").glob("*.sql")))
    (program / "store" / "migrations" / f"{number:03}.sql").write_text(f"{NEXT_MIGRATION};\n")
    later = folder / "imaginator_99.0.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", parts, later], check=True)
    return later, number


def way_back(kept: str) -> str:
    """The documentation's commands for it, with a copy of the catalogue that was kept."""
    (block,) = blocks("installing.rst", "Upgrade")
    return re.sub(r"\./imaginator\S*", "/root/dist/imaginator_*.deb", block.replace("catalogue-4.sqlite", kept))


def test_an_upgrade_and_back(tree: Path, package: Path, tmp_path: Path) -> None:
    """What ran runs again, with what there was; the catalogue is brought up to date, and kept as it was.

    So there is a way back; until it is gone, the earlier program refuses the later catalogue.
    """
    conf = tree / "etc" / "imaginator" / "conf.json"
    written = conf.read_text()
    later, number = next_version(package, tmp_path)
    kept = f"catalogue-{number - 1}.sqlite"
    shutil.copy(later, tree / "srv" / "later.deb")
    with Host(tree) as host:
        host.sh("service imaginator start")
        until(lambda: host.answers() and ["small", "over"] == images(host))
        host.sh("apt-get install --yes --no-install-recommends /srv/later.deb")
        until(host.answers)
        upgraded = host.page("")
        kept_images = images(host)
        files = host.sh("ls /var/lib/imaginator").split()
        host.sh(f"dpkg --install /root/dist/{package.name}")
        until(lambda: "newer program" in host.run("service", "imaginator", "status").stdout)
        host.sh(way_back(kept))
        until(host.answers)
        back = images(host)
        host.sh("service imaginator stop")

    assert "imaginator 99.0," in upgraded
    assert ["small", "over"] == kept_images
    assert written == conf.read_text()
    assert kept in files
    assert ["small", "over"] == back


def test_removed_and_purged(tree: Path, package: Path) -> None:
    """Removal keeps images and configuration, purge nothing but the operator's certificates."""
    with Host(tree) as host:
        host.sh("service imaginator start")
        until(host.answers)
        host.sh("dpkg --remove imaginator")
        after_removal = [path for path in (*OWNED, *LASTING) if (tree / path.lstrip("/")).exists()]
        processes = host.processes()
        host.sh("dpkg --purge imaginator")
        left = host.sh("find / -xdev -name '*imaginator*' -not -path '/root/*' -not -path '/proc/*'")
        group = host.run("getent", "group", "imaginator").returncode
        host.sh(f"dpkg --install /root/dist/{package.name}")

    assert ["/etc/imaginator", "/etc/default/imaginator", "/etc/init.d/imaginator", *LASTING] == after_removal
    assert [] == processes
    assert "/etc/ssl/imaginator" == left
    assert 2 == group


def test_what_is_installed(package: Path) -> None:
    """No path of where it was built is in the package, and everything belongs to root."""
    listed = subprocess.run(["dpkg-deb", "-c", package], check=True, capture_output=True, text=True).stdout

    assert {"root/root"} == {line.split()[1] for line in listed.splitlines()}
