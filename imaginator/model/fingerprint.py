"""What goes into an image, as values that can be compared with what would go into it now.

Nothing of it is shown but names: values are kept as digests.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence

import msgspec

MOST_TOLD = 3
"""How many differences of one kind are named."""

_SHOWN = 12
_LENGTH = 16


class Fingerprint(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """What one image was made from.

    ``definition`` and ``environment`` are digests by name: of what the configuration says, and of the variables that
    commands saw. ``manifest`` is the id of the manifest's content and ``source_image`` a name, both empty for
    bootstraps. ``index`` is the state of the package index that was installed from; empty where none was, or unknown.
    """

    definition: dict[str, str] = {}
    manifest: str = ""
    source_image: str = ""
    environment: dict[str, str] = {}
    index: str = ""


def digest(value: object) -> str:
    """A short name for a value of JSON's kinds, or for bytes."""
    data = value if isinstance(value, bytes) else msgspec.json.encode(value, order="sorted")
    return hashlib.sha256(data).hexdigest()[:_LENGTH]


def digests(values: Mapping[str, object]) -> dict[str, str]:
    """The same for each value of a table."""
    return {name: digest(value) for name, value in values.items()}


def differences(before: Fingerprint, now: Fingerprint) -> list[str]:
    """What differs, the index apart, a few words each; empty when nothing does."""
    return [*_differences(before, now)]


def _differences(before: Fingerprint, now: Fingerprint) -> Iterator[str]:
    if changed := _changed(before.definition, now.definition):
        yield f"configuration: {in_short(changed)} changed"
    if before.manifest != now.manifest:
        yield f"manifest changed: {before.manifest[:_SHOWN] or 'none'} → {now.manifest[:_SHOWN] or 'none'}"
    if before.source_image != now.source_image:
        yield f"source image: {before.source_image or 'none'} → {now.source_image or 'none'}"
    if changed := _changed(before.environment, now.environment):
        yield f"environment: {in_short(changed)} changed"


def _changed(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    return [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]


def in_short(names: Sequence[str]) -> str:
    """The first few of some names, and how many there are besides."""
    more = f" and {len(names) - MOST_TOLD} more" if len(names) > MOST_TOLD else ""
    return f"{', '.join(names[:MOST_TOLD])}{more}"
