"""Why a stream needs another image: each reason, over manifests in plain directories."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest
import pytest_twisted
from msgspec.structs import replace

from imaginator.build.fetch import Fetcher
from imaginator.build.job import SourceWish
from imaginator.build.looking import Looker, LookerParts
from imaginator.build.sources import Sources
from imaginator.model.build import BuildRecord
from imaginator.model.fingerprint import Fingerprint, digest
from imaginator.model.image import Origin
from imaginator.model.streams import Stream
from imaginator.sandbox.limits import Limits
from imaginator.schedule.freshness import Freshness, FreshnessParts
from imaginator.schedule.jobs import Jobs
from tests.support.building import Building, add_image, building, request
from tests.support.real_reactor import reactor

HOUR = timedelta(hours=1)
SCRIPT = {"scripts/x": "#!/bin/sh\n"}


class Case(NamedTuple):
    """A stream with these fields and files, its image this old; ``changes`` are what the image was made from."""

    told: str
    fields: dict[str, object] = {}
    files: dict[str, str] = {}
    settings: dict[str, object] = {}
    age: timedelta = HOUR
    changes: dict[str, Any] | None = {}
    flag: bool = False


CASES = {
    "nothing": Case(""),
    "always": Case("RebuildWhen is always", {"RebuildWhen": "always"}),
    "old": Case("the image is older than 1h (MaximumImageAge)", {"MaximumImageAge": "1h"}, age=2 * HOUR),
    "old enough": Case("", {"MaximumImageAge": "3h"}, age=2 * HOUR),
    "the flag": Case("--rebuild-unchanged", flag=True),
    "scripts": Case("not all that goes into it can be seen: its scripts have network", files=SCRIPT),
    "scripts that are trusted": Case("", {"RebuildWhen": "changed"}, SCRIPT),
    "scripts without network": Case("", {"Network": False}, SCRIPT),
    "bind mounts": Case(
        "not all that goes into it can be seen: builds see bind mounts", settings={"BindMounts": ["/opt"]}
    ),
    "an old image": Case("it is not known what IMAGE was made from", changes=None),
    "a manifest": Case("manifest changed: 0123456789ab → CONTENT", changes={"manifest": "0123456789abcdef"}),
    "a source": Case("source image: base/older → SOURCE", changes={"source_image": "base/older"}),
    "a variable": Case("environment: FOO changed", {"Variables": {"FOO": "1"}}, changes={"FOO": "2"}),
    "packages": Case("the packager of SOURCE cannot tell what it would install", files={"package-list": "tree\n"}),
}


def changed(fingerprint: Fingerprint, changes: dict[str, Any]) -> Fingerprint:
    """A fingerprint with some fields, or variables, otherwise."""
    fields = {name: value for name, value in changes.items() if name in Fingerprint.__struct_fields__}
    variables = {name: digest(value) for name, value in changes.items() if name not in fields}
    return replace(fingerprint, **{"environment": {**fingerprint.environment, **variables}, **fields})


def configure(system: Building, folder: Path, case: Case) -> None:
    """Write the configurations and the manifest."""
    system.files.write_main({"base": "deb"}, {"deb": {}}, **case.settings)
    stream = {"ManifestUrl": f"dir://{folder}", **case.fields}
    system.files.streams.write_text(json.dumps({"Streams": {"web": stream}}))
    for path, text in {"manifest": '{"SourceImage": "base"}', **case.files}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)


@pytest.mark.parametrize("name", CASES)
@pytest_twisted.ensureDeferred
async def test_each_reason(tmp_path: Path, name: str) -> None:
    """In the words that the log and the pages have."""
    case = CASES[name]
    async with building(tmp_path) as system:
        configure(system, tmp_path / "manifests", case)
        await system.configuration.reload()
        jobs = Jobs(system.configuration, Limits())
        sources = Sources(reactor, tmp_path / "sources")
        fetcher, redactor = Fetcher(reactor), lambda: system.configuration.redactor
        looker = Looker(LookerParts(tmp_path, sources, fetcher, system.workers, redactor))
        parts = FreshnessParts(reactor, jobs, system.store, looker, cast(Any, None), system.now, case.flag)
        freshness = Freshness(parts)
        this = freshness.round()

        source = await add_image(system.store, "base", system.now(), packager_type="deb")
        job = await jobs.of(BuildRecord(build_id="", request=request(), requester="", submitted_at=system.now()))
        assert isinstance(job.definition, Stream)
        sight = await looker.manifest(job, job.definition, this.heads)
        made_from = looker.fingerprint(job, job.definition, sight, source.name)
        image = await add_image(
            system.store,
            "web",
            system.now() - case.age,
            fingerprint=None if case.changes is None else changed(made_from, case.changes),
            origin=Origin(source_image=source.name),
        )

        async def settled(_: SourceWish) -> None:
            """Nothing is waited for."""

        told = await freshness.judge(request(), this, settled)
        expected = case.told.replace("IMAGE", image.name).replace("SOURCE", source.name)
        assert expected.replace("CONTENT", sight.found.content[:12]) == told.reason
        assert image.name == told.latest
