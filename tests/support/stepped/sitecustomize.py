"""Read by a Python that starts with a clock of `tests.support.stepped_clock`: lets it sleep.

Python sleeps until a moment of the monotonic clock; libfaketime takes that for one of the clock that it sets, and
answers "Invalid argument".
"""

import select
import time
from functools import partial

time.sleep = partial(select.select, (), (), ())  # type: ignore[assignment]
