"""The reactor of this process, for tests that need a real one; its type depends on what it is asked for."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor as _reactor

reactor: Any = _reactor
