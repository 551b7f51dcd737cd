"""Triggers: which services act when which paths change on a machine."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from imaginator.model.codec import Warn, decode_json
from imaginator.model.filters import Filter
from imaginator.model.image import Trigger


def decode_triggers(data: bytes, where: str, warn: Warn | None = None) -> tuple[Trigger, ...]:
    """The triggers of a JSON array; raises `ConfigurationError`, for bad regular expressions too."""
    triggers = decode_json(data, tuple[Trigger, ...], where, warn)
    for trigger in triggers:
        Filter(trigger.match_lines, f"{where}: {trigger.service}")
    return triggers


def merge_triggers(source: Iterable[Trigger], added: Iterable[Trigger]) -> tuple[Trigger, ...]:
    """Both lists, joined by service and DoReload: lines as a sorted set, flags OR-ed, the first SortName kept."""
    merged: dict[tuple[str, bool], Trigger] = {}
    for trigger in (*source, *added):
        key = (trigger.service, trigger.do_reload)
        merged[key] = _join(merged[key], trigger) if key in merged else trigger
    return tuple(merged[key] for key in sorted(merged))


def _join(one: Trigger, other: Trigger) -> Trigger:
    return msgspec.structs.replace(
        one,
        match_lines=tuple(sorted({*one.match_lines, *other.match_lines})),
        sort_name=one.sort_name or other.sort_name,
        do_reboot=one.do_reboot or other.do_reboot,
        high_impact=one.high_impact or other.high_impact,
    )
