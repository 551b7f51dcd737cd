"""What experiments have shown, which is printed at the end, whichever process has run them."""

from __future__ import annotations

from collections import Counter

COUNTS: Counter[str] = Counter()
"""How often each fault was tried."""

FIGURES: list[str] = []
"""What abuse came to, a line each."""
