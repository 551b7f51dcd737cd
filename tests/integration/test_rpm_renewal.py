"""Automatic rebuilds over RPM packages: dnf tells what it would install now, with the sample for Rocky Linux."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.daemon import Daemon
from demo.site import replace
from tests.integration.conftest import new_site
from tests.integration.test_renewal import UNCHANGED, verdict
from tests.integration.test_rpm import PROVIDED
from tests.support.live import PROVING, Live
from tests.support.rpm_repository import RpmRepository
from tests.support.samples import install

BASE, LISTED = "base", "listed"
SCRIPT = """set -e
root=$1
shift
"$@" words
mkdir -p "$root/etc/yum.repos.d"
cp {source} "$root/etc/yum.repos.d/own.repo"
"""

pytestmark = pytest.mark.integration


class Renewal:
    """A daemon with the sample, whose automatic rebuilds are started by hand, and whose only repository is ours."""

    def __init__(self, live: Live, repository: RpmRepository, base: str) -> None:
        self.live = live
        self.repository = repository
        self.base = base

    def cycle(self) -> dict[str, str]:
        """One cycle; what it made of each stream, as the stream's page tells."""
        self.live.call("Imaginator.StartAutoBuilds", WaitToStart=True, WaitForComplete=True)
        return {BASE: verdict(self.live, self.base), LISTED: verdict(self.live, LISTED)}


def configure(live: Live, stream: str, folder: Path, repository: RpmRepository) -> None:
    """Let the sample's bootstrap leave its image a repository, as a real one does; it may go missing unnoticed."""
    source = folder / "own.repo"
    source.write_text(repository.source + "skip_if_unavailable=1\n")
    script = folder / "bootstrap"
    script.write_text(SCRIPT.format(source=source))
    settings = json.loads(live.site.configuration.read_text())
    (definition,) = settings["BootstrapStreams"].values()
    definition["BootstrapCommand"] = ["sh", str(script), "$dir", *definition["BootstrapCommand"]]
    replace(live.site.configuration, json.dumps({**settings, "ImageStreamsToAutoRebuild": [LISTED]}))


@pytest.fixture
def renewal(tmp_path: Path) -> Iterator[Renewal]:
    """Both streams built once."""
    repository = RpmRepository(tmp_path / "repository", tmp_path / "scratch", PROVIDED)
    repository.add("probe", "1.0", "Requires: words\nEpoch: 0\n")
    with repository.serve():
        site = new_site(tmp_path / "site")
        stream, folder = install(site, "rocky-9")
        (folder / "rocky-9" / "dnf.conf").write_text(f"[main]\nreposdir=/nonexistent\n{repository.local_source}")
        live = Live(site, Daemon(site, *PROVING, *repository.flags, "--image-rebuild-interval", "0"))
        configure(live, stream, folder, repository)
        live.bootstraps = {stream: []}
        live.daemon.start()
        live.add_stream(LISTED, {"manifest": json.dumps({"SourceImage": stream}), "package-list": "probe\n"})
        renewal = Renewal(live, repository, stream)
        assert dict.fromkeys((BASE, LISTED), "built: there is no image yet") == renewal.cycle()
        yield renewal
        live.close()


def test_what_dnf_would_install(renewal: Renewal) -> None:
    """Nothing; an unrelated package; a listed one; one that takes another's place; and a mirror that is gone."""
    unchanged = {BASE: UNCHANGED, LISTED: UNCHANGED}
    assert unchanged == renewal.cycle()

    renewal.repository.add("unrelated", "1.0")
    assert unchanged == renewal.cycle()

    renewal.repository.add("probe", "1.1", "Requires: words\n")
    assert {BASE: UNCHANGED, LISTED: "built: packages: probe 0:1.0-1 → 1.1-1"} == renewal.cycle()

    renewal.repository.add("better", "2.0", "Obsoletes: words < 2\nProvides: words = 2\n")
    answer = renewal.cycle()
    assert "built: packages: better - → 2.0-1, words 1.0-1 → -" == answer[BASE]
    assert answer[LISTED].startswith("built: source image: ")
    assert unchanged == renewal.cycle()

    (renewal.repository.folder / "repodata").rename(renewal.repository.folder / "gone")
    answer = renewal.cycle()
    assert UNCHANGED not in answer.values()
    assert "package update: exit status 1" in answer[LISTED]
