"""What becomes of builds, as it happens, for those who watch: the latest changes, numbered.

However many watch, a change is kept once, and each reads on from the number that it knows. Who falls so far behind that
changes are missing is told, and looks at everything anew: nobody costs more for being slow. Those who wait are woken a
few in a turn of the reactor, so that many do not keep others waiting.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from secrets import token_hex

from twisted.internet.defer import Deferred

from imaginator.model.build import BuildRecord

KEPT = 1000
"""Changes that are kept."""

TOGETHER = 25
"""Watchers that are woken in one turn."""


class Events:
    """Changes of builds; ``era`` tells the numbers of this daemon from those of one before it.

    ``listener`` is called with each change; ``give_way`` calls what it is given, in the reactor's next turn.
    """

    def __init__(self) -> None:
        self.era = token_hex(4)
        self.last = 0
        self._kept: deque[BuildRecord] = deque(maxlen=KEPT)
        self._waiting: dict[Deferred[None], None] = {}
        self._ready: dict[Deferred[None], None] = {}
        self._is_waking = False
        self.listener: Callable[[BuildRecord], None] = lambda record: None
        self.give_way: Callable[[Callable[[], None]], object] = lambda wake: wake()

    @property
    def watchers(self) -> int:
        """How many wait for the next change, or are to be woken."""
        return len(self._waiting) + len(self._ready)

    def tell(self, record: BuildRecord) -> None:
        """A build has changed."""
        self._kept.append(record)
        self.last += 1
        self.listener(record)
        self._ready.update(self._waiting)
        self._waiting.clear()
        if not self._is_waking:
            self._wake_some()

    def _wake_some(self) -> None:
        self._is_waking = True
        for deferred in list(islice(self._ready, TOGETHER)):
            # One may have been cancelled by what another did.
            if deferred in self._ready:
                del self._ready[deferred]
                deferred.callback(None)
        self._is_waking = bool(self._ready)
        if self._is_waking:
            self.give_way(self._wake_some)

    def since(self, number: int) -> Sequence[BuildRecord] | None:
        """The changes after that of a number, oldest first; None where some of them are not kept, or never were."""
        count = self.last - number
        if not 0 <= count <= len(self._kept):
            return None
        return list(islice(self._kept, len(self._kept) - count, None))

    def later(self) -> Deferred[None]:
        """Fires at the next change; may be cancelled."""
        deferred: Deferred[None] = Deferred(self._forget)
        self._waiting[deferred] = None
        return deferred

    def _forget(self, deferred: Deferred[None]) -> None:
        self._waiting.pop(deferred, None)
        self._ready.pop(deferred, None)
