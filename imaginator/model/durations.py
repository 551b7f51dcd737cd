"""Durations and sizes as people write them: ``1h30m``, ``100M``; in the program, seconds and bytes."""

from __future__ import annotations

import re

_SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,12})?)([dhms])")
_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,12})?)\s*(?:([KMGT])(?:i?B)?|B)?", re.IGNORECASE)
_SHARE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,12})?)\s*%")
_POWERS = {"K": 1, "M": 2, "G": 3, "T": 4}


def parse_duration(text: str) -> float:
    """The seconds of ``90s``, ``15m``, ``1h30m``, ``30d`` or ``0``; raises ValueError for anything else."""
    if text == "0":
        return 0.0
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is no duration: expected something like 90s, 15m, 1h30m or 30d")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def parse_size(text: str) -> int:
    """The bytes of ``100M`` or ``2GiB``, in powers of 1024; raises ValueError for anything else."""
    found = _SIZE.fullmatch(text.strip())
    if not found:
        raise ValueError(f"{text!r} is no size: expected something like 100M or 2GiB")
    return int(float(found[1]) * 1024 ** (_POWERS[found[2].upper()] if found[2] else 0))


def parse_share(text: str, whole: int) -> int:
    """The bytes of ``20%``, of ``whole`` bytes, or of a size; raises ValueError for anything else."""
    found = _SHARE.fullmatch(text.strip())
    if found and float(found[1]) <= 100:
        return int(whole * float(found[1]) / 100)
    try:
        return parse_size(text)
    except ValueError:
        raise ValueError(f"{text!r} is neither a size nor a share: expected something like 100G or 20%") from None


def format_duration(seconds: float) -> str:
    """A duration for people, in its two largest units: ``1h30m``, ``2.5s``, ``40ms``."""
    if seconds == 0:
        return "0s"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 59.95:
        return f"{seconds:.1f}s".replace(".0s", "s")
    rest = round(seconds)
    parts = []
    for unit, length in _SECONDS.items():
        count, rest = divmod(rest, int(length))
        parts.append(f"{count}{unit}" if count else "")
    first = next(place for place, part in enumerate(parts) if part)
    return "".join(parts[first : first + 2])


def format_size(count: int) -> str:
    """A number of bytes for people: ``512 B``, ``1.5 MiB``."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
