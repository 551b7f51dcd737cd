"""The daemon's figures in the Prometheus text format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector, generate_latest

from imaginator import __version__
from imaginator.model.build import BuildRecord, Stage
from imaginator.model.expiry import TlsState
from imaginator.store.usage import Usage
from imaginator.web.meters import Meters


class Numbers(NamedTuple):
    """What is exposed: builds by state, running ones by stage, counts of what there is, seconds since the start.

    ``tls`` has the ends of certificates; ``free`` and ``size`` are of the state directory's disk, in bytes. ``usage``
    is the last sample of the store, if any; ``reload_errors`` counts new versions of files that were refused.
    """

    builds: dict[str, int]
    stages: dict[str, int]
    streams: int
    images: int
    configuration_errors: int
    rpc_open: bool
    builds_wait: bool
    tls: TlsState
    uptime: float
    free: int
    size: int
    usage: Usage | None
    connections: int
    reload_errors: Mapping[str, int]


def stages_of(running: Sequence[BuildRecord]) -> dict[str, int]:
    """How many of the running builds are in each stage, stages without one included."""
    found = [record.stage for record in running]
    return {stage.value: found.count(stage) for stage in Stage}


def exposition(numbers: Numbers, meters: Meters) -> bytes:
    """The text that a scrape gets: ``numbers``, what is counted, and the process's own (memory, descriptors, CPU)."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    plain = {
        "streams": ("Image streams that are configured.", numbers.streams),
        "images": ("Images in the store.", numbers.images),
        "configuration_errors": ("Errors in the configuration in force or refused.", numbers.configuration_errors),
        "rpc_open": ("1 while RPC is served, 0 while certificates for it are missing.", numbers.rpc_open),
        "builds_wait": ("1 while no new build starts, for the disk is down to its reserve.", numbers.builds_wait),
        "certificates_refused": ("1 while changed certificate files are no good.", bool(numbers.tls.problem)),
        "disk_free_bytes": ("Room on the state directory's file system.", numbers.free),
        "disk_size_bytes": ("Size of the state directory's file system.", numbers.size),
        "connections": ("Connections that are open, of whoever.", numbers.connections),
        "uptime_seconds": ("Seconds since the daemon started.", numbers.uptime),
    }
    if numbers.usage is not None:
        plain["objects"] = ("Objects in the store, as of its last sample.", numbers.usage.objects)
        plain["object_bytes"] = ("Content of these objects.", numbers.usage.object_bytes)
    for name, (help_text, value) in plain.items():
        Gauge(f"imaginator_{name}", help_text, registry=registry).set(value)
    Gauge("imaginator_info", "The program's version.", ["version"], registry=registry).labels(__version__).set(1)
    _labelled(registry, "builds", "Builds on the status page, by state.", "state", numbers.builds)
    _labelled(registry, "running_builds", "Running builds, by stage.", "stage", numbers.stages)
    ends = {expiry.flag: expiry.at.timestamp() for expiry in numbers.tls.expiries}
    help_text = "When the first certificate in a file expires, or its list is due, in seconds since 1970."
    _labelled(registry, "certificate_expiry_timestamp_seconds", help_text, "file", ends)
    help_text = "Errors for which a new version of a file was refused, by what the file is of."
    refused = Counter("imaginator_reload_errors", help_text, ["of"], registry=registry)
    for what, count in numbers.reload_errors.items():
        refused.labels(what).inc(count)
    return generate_latest(registry) + generate_latest(meters.registry)


def _labelled(registry: CollectorRegistry, name: str, help_text: str, label: str, values: Mapping[str, float]) -> None:
    gauge = Gauge(f"imaginator_{name}", help_text, [label], registry=registry)
    for value, count in values.items():
        gauge.labels(value).set(count)
