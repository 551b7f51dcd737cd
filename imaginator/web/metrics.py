"""The daemon's figures in the Prometheus text format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Gauge, ProcessCollector, generate_latest

from imaginator import __version__
from imaginator.model.build import BuildRecord, Stage


class Numbers(NamedTuple):
    """What is exposed: builds by state, running ones by stage, counts of what there is, seconds since the start."""

    builds: dict[str, int]
    stages: dict[str, int]
    streams: int
    images: int
    configuration_errors: int
    rpc_open: bool
    builds_wait: bool
    uptime: float


def stages_of(running: Sequence[BuildRecord]) -> dict[str, int]:
    """How many of the running builds are in each stage, stages without one included."""
    found = Counter(record.stage for record in running)
    return {stage.value: found[stage] for stage in Stage}


def exposition(numbers: Numbers) -> bytes:
    """The text that a scrape gets; besides ``numbers`` the process's own (memory, descriptors, CPU time)."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    plain = {
        "streams": ("Image streams that are configured.", numbers.streams),
        "images": ("Images in the store.", numbers.images),
        "configuration_errors": ("Errors in the configuration in force or refused.", numbers.configuration_errors),
        "rpc_open": ("1 while RPC is served, 0 while certificates for it are missing.", numbers.rpc_open),
        "builds_wait": ("1 while no new build starts, for the disk is down to its reserve.", numbers.builds_wait),
        "uptime_seconds": ("Seconds since the daemon started.", numbers.uptime),
    }
    for name, (help_text, value) in plain.items():
        Gauge(f"imaginator_{name}", help_text, registry=registry).set(value)
    Gauge("imaginator_info", "The program's version.", ["version"], registry=registry).labels(__version__).set(1)
    _labelled(registry, "builds", "Builds on the status page, by state.", "state", numbers.builds)
    _labelled(registry, "running_builds", "Running builds, by stage.", "stage", numbers.stages)
    return generate_latest(registry)


def _labelled(registry: CollectorRegistry, name: str, help_text: str, label: str, values: dict[str, int]) -> None:
    gauge = Gauge(f"imaginator_{name}", help_text, [label], registry=registry)
    for value, count in values.items():
        gauge.labels(value).set(count)
