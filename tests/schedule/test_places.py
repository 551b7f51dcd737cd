"""What a place remembers of its manifest."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any, cast

from imaginator.model.redaction import Redactor
from imaginator.model.streams import Stream
from imaginator.schedule.places import NO_PLAN, PlainManifest, Setting, look_at, place_of, plan_of

SETTING = Setting("amd64", {}, Redactor({}), {})


class FailingDisk:
    """Whatever is read fails."""

    def read(self, _location: object) -> Any:
        """Fail."""
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_a_disk_that_fails(tmp_path: Path) -> None:
    """Its stream says so, and the next look tries again."""
    (tmp_path / "manifest").write_text('{"SourceImage": "base"}')
    manifest = PlainManifest(place_of("web", Stream(manifest_url=f"dir://{tmp_path}"), SETTING))
    manifest.read(cast(Any, FailingDisk()))
    failed = str(manifest.found)

    assert f"dir://{tmp_path}: cannot be read: Input/output error" == failed
    assert 1 == look_at([manifest], SETTING.redactor)
    assert "base" == manifest.found


def test_a_plan_keeps_what_is_still_so(tmp_path: Path) -> None:
    """Places of equal definitions are the same, others and those of other secrets are new."""
    definitions = {name: Stream(manifest_url=f"dir://{tmp_path}/{name}") for name in ("a", "b", "c")}
    first = plan_of(definitions, SETTING, NO_PLAN)
    changed = {**definitions, "b": Stream(manifest_url=f"dir://{tmp_path}/x")}
    del changed["c"]
    second = plan_of(changed, SETTING, first)
    third = plan_of(changed, SETTING._replace(secrets={"TOKEN": "correct-horse"}), second)

    assert ["a", "b"] == list(second.plain) == list(third.plain)
    assert second.plain["a"] is first.plain["a"]
    assert second.plain["b"] is not first.plain["b"]
    assert third.plain["a"] is not second.plain["a"]
