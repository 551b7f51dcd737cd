"""Times that the daemon told, for people."""

from __future__ import annotations

from datetime import datetime


def shown(text: str) -> str:
    """In the caller's time zone."""
    return parsed(text).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def parsed(text: str) -> datetime:
    """As a moment."""
    return datetime.fromisoformat(text)
