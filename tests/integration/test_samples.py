"""The samples of ``etc/`` as they are, but for where the bootstrap gets Debian from and where the manifests lie."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.daemon import Daemon
from demo.site import ARCH, BASE_STREAM, Site, read_sample, replace
from imaginator.rpc.client import RpcError
from tests.integration.conftest import new_site
from tests.support.base_tree import unpack_command
from tests.support.live import PROVING, Live

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

ETC = Path(__file__).parents[2] / "etc"
MANIFESTS = ETC / "manifests"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, debian_tar: Path) -> Iterator[Live]:
    """A daemon with both sample configurations; a bootstrap unpacks the Debian that the sample's command made."""
    site = new_site(tmp_path_factory.mktemp("samples"))
    configure(site, debian_tar)
    live = Live(site, Daemon(site, *PROVING))
    live.daemon.start()
    yield live
    live.close()


def configure(site: Site, debian_tar: Path) -> None:
    """Write the samples with the paths of this host."""
    main = read_sample()
    assert main["ImageStreamsUrl"] == "file:///etc/imaginator/streams.json"
    main["ImageStreamsUrl"] = site.streams.as_uri()
    (stream,) = main["BootstrapStreams"].values()
    stream["BootstrapCommand"] = unpack_command(debian_tar)
    replace(site.configuration, json.dumps(main))
    streams = (ETC / "streams.json").read_text()
    replace(site.streams, streams.replace("dir:///etc/imaginator/manifests", f"dir://{MANIFESTS}"))


def build(live: Live, stream: str) -> str:
    """The name of a new image of a stream; a mirror may fail once."""
    try:
        return str(live.build(stream)["ImageName"])
    except RpcError:
        return str(live.build(stream)["ImageName"])


@pytest.mark.parametrize("name", sorted(path.name for path in MANIFESTS.iterdir()))
def test_a_sample_manifest(live: Live, name: str) -> None:
    """It builds, with its tests, and is of the source that it names."""
    assert 0 == live.tool("check-manifest", str(MANIFESTS / name)).returncode
    image = live.call("ImageServer.GetImage", ImageName=build(live, f"{name}/Debian-12/{ARCH}"))
    wanted = [line for line in (MANIFESTS / name / "package-list").read_text().splitlines() if not line.startswith("#")]

    assert image["Origin"]["SourceImage"].startswith(BASE_STREAM if name == "base" else f"base/Debian-12/{ARCH}/")
    assert set(wanted) <= {package["Name"] for package in image["Packages"]}


def test_the_web_server_serves(live: Live, tmp_path: Path) -> None:
    """Fetched and started, its nginx gives out the page of the manifest."""
    live.tool("get-image", build(live, f"web/Debian-12/{ARCH}"), "-o", str(tmp_path / "tree"))
    script = (
        "ip link set lo up; mkdir -p /var/log/nginx; nginx; exec 3<>/dev/tcp/127.0.0.1/80;"
        " printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3; nginx -s stop"
    )
    mounted = f'mount --bind /dev {tmp_path}/tree/dev; exec chroot {tmp_path}/tree bash -c "$0"'
    isolated = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount", "sh", "-c", mounted, script]
    said = subprocess.run(isolated, capture_output=True, text=True, timeout=60, check=False)

    assert (MANIFESTS / "web/files/var/www/html/index.html").read_text() in said.stdout, said.stderr


def test_the_samples_are_without_a_fault(live: Live) -> None:
    """No warning of the tool, and no error of the daemon."""
    for name in ("conf.json", "streams.json"):
        checked = live.tool("check-config", str(ETC / name))
        assert (0, "") == (checked.returncode, checked.stdout)
