"""What monitoring gets: read by the reference parser, and all that the samples ask for."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.task import Clock

from imaginator.model.build import BuildRecord, BuildRequest, Stage, StageTime, State
from imaginator.model.expiry import Expiry, TlsState
from imaginator.service.lateness import BETWEEN, Lateness
from imaginator.store.usage import Usage
from imaginator.web.meters import Meters
from tests.support.fake_builder import START, FakeBuilder
from tests.support.visitor import Visitor

ETC = Path(__file__).parents[2] / "etc"
RECORD = BuildRecord(
    build_id="1",
    request=BuildRequest(stream_name='a/"b'),
    requester="",
    submitted_at=START,
    state=State.FAILED,
    stages=(StageTime(Stage.FETCH, 0.5), StageTime(Stage.SCRIPTS, 40.0)),
)


USAGE = SimpleNamespace(latest=Usage(START, 3, 40, 5000, 6 << 30, 7 << 30))
TLS = TlsState(expiries=(Expiry("cert-file", "the certificate", "/cert.pem", START),))
PROMTOOL = Path(sys.executable).with_name("promtool")


def whole_page() -> str:
    """The page of a daemon of which everything can be told."""
    meters = Meters()
    meters.build_changed(RECORD)
    meters.called("Imaginator.GetBuild", -32002)
    meters.timer_was_late(0.02)
    refused = {"configuration": 2, "certificates": 0}
    more: dict[str, Any] = {
        "usage": USAGE,
        "connections": lambda: 9,
        "reload_errors": lambda: refused,
        "tls": lambda: TLS,
    }
    return Visitor(FakeBuilder(), meters=meters, **more).get("/metrics").text


def promtool(*arguments: str, text: str = "") -> tuple[int, str]:
    """The exit status of Prometheus's own tool, and what it says."""
    done = subprocess.run([PROMTOOL, *arguments], input=text, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout + done.stderr


def samples(meters: Meters | None = None) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Each sample of the page, by name and labels."""
    text = Visitor(FakeBuilder(), meters=meters).get("/metrics").text
    found: Any = text_string_to_metric_families(text)
    return {(one.name, frozenset(one.labels.items())): one.value for family in found for one in family.samples}


def value(found: dict[Any, float], name: str, **labels: str) -> float:
    """One sample's value."""
    return found[name, frozenset(labels.items())]


def test_builds() -> None:
    """What has ended is counted by stream and result, with durations; what runs on is not."""
    meters = Meters()
    meters.build_changed(RECORD)
    meters.build_changed(RECORD)
    meters.build_changed(BuildRecord(build_id="2", request=RECORD.request, requester="", submitted_at=START))
    found = samples(meters)

    assert 2 == value(found, "imaginator_builds_ended_total", stream='a/"b', result="failed")
    assert 81 == value(found, "imaginator_build_seconds_sum", result="failed")
    assert (0, 2) == tuple(
        value(found, "imaginator_stage_seconds_bucket", stage="scripts", le=bound) for bound in ("30.0", "60.0")
    )


def test_calls() -> None:
    """By method and code."""
    meters = Meters()
    for code in (0, 0, -32002):
        meters.called("Imaginator.GetBuild", code)
    found = samples(meters)

    assert 2 == value(found, "imaginator_rpc_calls_total", method="Imaginator.GetBuild", code="0")
    assert 1 == value(found, "imaginator_rpc_calls_total", method="Imaginator.GetBuild", code="-32002")


def test_lateness() -> None:
    """A timer that comes in time is late by nothing; one that was held up, by that."""
    clock = Clock()
    late: list[float] = []
    watch = Lateness(clock, late.append)
    watch.startService()
    clock.advance(BETWEEN)
    clock.rightNow += 2  # something keeps the reactor
    clock.advance(BETWEEN)
    watch.stopService()

    assert [0, 2] == late
    assert [] == clock.getDelayedCalls()


def test_the_store_and_whoever_is_connected() -> None:
    """Samples of the store, open connections, and versions of files that were refused."""
    page: Any = text_string_to_metric_families(whole_page())
    found = {(one.name, frozenset(one.labels.items())): one.value for family in page for one in family.samples}

    assert (40, 5000) == (value(found, "imaginator_objects"), value(found, "imaginator_object_bytes"))
    assert 9 == value(found, "imaginator_connections")
    assert 2 == value(found, "imaginator_reload_errors_total", of="configuration")
    assert 0 == value(found, "imaginator_reload_errors_total", of="certificates")
    assert START.timestamp() == value(found, "imaginator_certificate_expiry_timestamp_seconds", file="cert-file")


def test_promtool_takes_it() -> None:
    """Prometheus's own tool can read all of it, and has nothing to say against the names and their help."""
    assert (0, "") == promtool("check", "metrics", text=whole_page())
    assert 0 != promtool("check", "metrics", text="imaginator_x{ 1\n")[0]


def test_promtool_takes_the_rules() -> None:
    """The sample's rules are rules."""
    status, said = promtool("check", "rules", str(ETC / "prometheus/imaginator.rules.yml"))

    assert 0 == status, said
    assert "9 rules found" in said


@pytest.mark.parametrize("sample", ["prometheus/imaginator.rules.yml", "grafana/imaginator.json"])
def test_samples_ask_for_what_there_is(sample: str) -> None:
    """Every name of ours in an expression is one that is told."""
    told = {one.name for family in text_string_to_metric_families(whole_page()) for one in family.samples}
    named = set(re.findall(r"\bimaginator_[a-z_]+\b", (ETC / sample).read_text()))

    assert named
    assert set() == named - told


def test_the_dashboard_is_json() -> None:
    """With a title for each panel."""
    dashboard = json.loads((ETC / "grafana/imaginator.json").read_text())

    assert all(panel["title"] and panel["targets"] for panel in dashboard["panels"])
