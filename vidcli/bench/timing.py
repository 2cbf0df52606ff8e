"""How long a call takes, by a clock that may be coarse on a machine that may be busy."""

from __future__ import annotations

import time
from collections.abc import Callable


def seconds_a_call(turn_seconds: float, function: Callable[..., object], *args: object) -> float:
    """Call a function until its turn is over, and return the mean time of a call.

    The clock decides when to stop, not a number of calls reckoned beforehand: however coarse it is,
    and whatever else the machine does, a turn has a length.
    """
    count, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < turn_seconds:
        function(*args)
        count += 1
    return elapsed / count
