"""Triggers: which services act when which paths change on a machine."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from imaginator.model.codec import JsonFile
from imaginator.model.filters import check_lines
from imaginator.model.image import Trigger
from imaginator.model.problems import Warn, untold


def decode_triggers(data: bytes, where: str, warn: Warn = untold) -> tuple[Trigger, ...]:
    """The triggers of a JSON array; raises `ConfigurationError`, for bad regular expressions too."""
    file = JsonFile(data, where, warn)
    triggers = file.decode(tuple[Trigger, ...])
    for at, trigger in enumerate(triggers or ()):
        check_lines(file, (at, "MatchLines"), trigger.match_lines)
    file.finish()
    assert triggers is not None
    return triggers


def merge_triggers(source: Iterable[Trigger], added: Iterable[Trigger]) -> tuple[Trigger, ...]:
    """Both lists, joined by service and DoReload: lines as a sorted set, flags OR-ed, the first SortName kept."""
    merged: dict[tuple[str, bool], Trigger] = {}
    for trigger in (*source, *added):
        key = (trigger.service, trigger.do_reload)
        merged[key] = _join(merged.get(key, trigger), trigger)
    return tuple(merged[key] for key in sorted(merged))


def _join(one: Trigger, other: Trigger) -> Trigger:
    return msgspec.structs.replace(
        one,
        match_lines=tuple(sorted({*one.match_lines, *other.match_lines})),
        sort_name=one.sort_name or other.sort_name,
        do_reboot=one.do_reboot or other.do_reboot,
        high_impact=one.high_impact or other.high_impact,
    )
