"""What a benchmark hands back, and how it is printed."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple


class Figure(NamedTuple):
    """A ratio with its aim (smaller is better) and the parts that it was made from, as lines."""

    name: str
    ratio: float
    aim: float
    parts: Sequence[str]

    def __str__(self) -> str:
        """One line with the verdict, then the parts."""
        verdict = "met" if self.ratio <= self.aim else "short"
        return "\n    ".join([f"{self.name}: {self.ratio:.2f} (aim <= {self.aim:g}) {verdict}", *self.parts])


def seconds(work: Callable[[], object]) -> float:
    """How long one call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def spread(label: str, times: Sequence[float]) -> str:
    """A line with the median and the extremes of some times in seconds."""
    return (
        f"{label}: median {_milliseconds(statistics.median(times))} ms"
        f" ({_milliseconds(min(times))} to {_milliseconds(max(times))}, {len(times)} runs)"
    )


def _milliseconds(time: float) -> str:
    return f"{time * 1000:.0f}" if time >= 0.1 else f"{time * 1000:.1f}"
