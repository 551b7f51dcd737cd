"""What is counted while the daemon runs, as Prometheus has it: it begins at nothing with every start."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

from imaginator.model.build import BuildRecord

_SECONDS = (0.1, 0.3, 1, 3, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200)
"""Bounds of the durations of builds and their stages."""

_MOMENTS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
"""Bounds of how late the reactor may be, in seconds."""


class Meters:
    """Counters and histograms in a ``registry`` of their own."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self._ended = Counter(
            "imaginator_builds_ended", "Builds that have ended.", ["stream", "result"], registry=registry
        )
        self._durations = Histogram(
            "imaginator_build_seconds", "How long builds took.", ["result"], registry=registry, buckets=_SECONDS
        )
        self._stages = Histogram(
            "imaginator_stage_seconds", "How long their stages took.", ["stage"], registry=registry, buckets=_SECONDS
        )
        self._calls = Counter(
            "imaginator_rpc_calls", "Calls of methods; code 0 is a result.", ["method", "code"], registry=registry
        )
        self._lateness = Histogram(
            "imaginator_reactor_late_seconds", "How late a timer was.", registry=registry, buckets=_MOMENTS
        )

        self._refused = Counter(
            "imaginator_tls_handshakes_refused", "TLS handshakes that were refused.", ["reason"], registry=registry
        )

    def build_changed(self, record: BuildRecord) -> None:
        """A build has changed; it counts when it has ended."""
        if record.state.final:
            self._ended.labels(record.request.stream_name, record.state.value).inc()
            self._durations.labels(record.state.value).observe(sum(time.seconds for time in record.stages))
            for time in record.stages:
                self._stages.labels(time.stage.value).observe(time.seconds)

    def called(self, method: str, code: int) -> None:
        """A method was called, with a result (0) or an error's code."""
        self._calls.labels(method, str(code)).inc()

    def handshake_refused(self, reason: str) -> None:
        """A TLS handshake came to nothing."""
        self._refused.labels(reason).inc()

    def timer_was_late(self, seconds: float) -> None:
        """The reactor came to a timer so many seconds after its time."""
        self._lateness.observe(seconds)
