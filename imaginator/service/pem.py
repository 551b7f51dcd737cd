"""PEM files: every block of one kind, and none of a file that is half written."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from imaginator.model.errors import ConfigurationError

T = TypeVar("T")

_BEGIN = b"-----BEGIN "
_BLOCK = re.compile(_BEGIN + rb"(?P<label>[A-Z0-9 ]+)-----[^-]*-----END (?P=label)-----")


def read_pem(path: Path, load: Callable[[bytes], T], expected: str) -> T:
    """What ``load`` makes of a file; raises `ConfigurationError`, which says what was ``expected``."""
    try:
        return load(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(str(path), f"cannot be read: {error.strerror}") from None
    except (ValueError, TypeError):
        raise ConfigurationError(str(path), f"expected {expected}") from None


def blocks(data: bytes, label: str) -> list[bytes]:
    """The blocks of a kind, one at least; raises ValueError where there is none, or any that is not complete."""
    complete = list(_BLOCK.finditer(data))
    found = [block[0] for block in complete if block["label"] == label.encode()]
    if not found or len(complete) != data.count(_BEGIN):
        raise ValueError("incomplete")
    return found
