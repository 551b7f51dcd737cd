"""What a stream's definition says of the resources that its builds may take."""

from __future__ import annotations

import msgspec

from imaginator.model.durations import parse_duration, parse_size

HEAVIEST = 10_000


class StreamLimits(msgspec.Struct, frozen=True, kw_only=True, rename="pascal", omit_defaults=True):
    """Limits as they are written: ``2GiB``, ``1h30m``, counts; each can only be lower than the flag's.

    A weight is a build's share of busy processors, from 1 to 10000, where 100 is usual. Decoding one that nobody can
    read fails with a sentence.
    """

    memory: str = ""
    processes: int = 0
    disk: str = ""
    inodes: int = 0
    cpu_weight: int = msgspec.field(name="CPUWeight", default=0)
    duration: str = ""

    def __post_init__(self) -> None:
        """Read every limit once; msgspec tells of a ValueError with the field's place."""
        for text in filter(None, (self.memory, self.disk)):
            parse_size(text)
        if self.duration:
            parse_duration(self.duration)
        if not 0 <= self.cpu_weight <= HEAVIEST:
            raise ValueError(f"{self.cpu_weight} is no CPUWeight: expected 1 to {HEAVIEST}")
        if min(self.processes, self.inodes) < 0:
            raise ValueError("a negative count: expected 0 or more of Processes and Inodes")

    @property
    def bytes_of_memory(self) -> int:
        """The limit in bytes, 0 for none."""
        return parse_size(self.memory) if self.memory else 0

    @property
    def bytes_of_disk(self) -> int:
        """The limit in bytes, 0 for none."""
        return parse_size(self.disk) if self.disk else 0

    @property
    def seconds(self) -> float:
        """How long a build may take, 0 for no limit of the stream's."""
        return parse_duration(self.duration) if self.duration else 0.0
