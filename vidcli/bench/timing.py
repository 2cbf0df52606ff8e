"""Times of calls, on a clock that may be coarse and a machine that may be busy."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar

import torch

Row: TypeAlias = dict[str, Any]
"""A measurement as `vidcli bench --json` prints it."""

Contender = TypeVar("Contender")


def seconds_a_call(turn_seconds: float, function: Callable[..., object], *args: object) -> float:
    """Call a function until `turn_seconds` are over, and return the mean time of a call in seconds.

    The clock decides when to stop, not a number of calls that was estimated before: a turn has its length
    on a coarse clock and on a busy machine too.
    """
    count, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < turn_seconds:
        function(*args)
        count += 1
    return elapsed / count


def time_call(function: Callable[[], object]) -> tuple[float, float]:
    """Return the wall time and the CPU time of a call in seconds."""
    cpu, start = time.process_time(), time.perf_counter()
    function()
    return time.perf_counter() - start, time.process_time() - cpu


def wait_for(device: torch.device) -> None:
    """Wait until a device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def order_of_turn(contenders: Sequence[Contender], turn: int) -> list[Contender]:
    """Return the contenders in the order of a turn: reversed in every second one.

    No contender then always follows the same neighbour.
    """
    return list(contenders if turn % 2 == 0 else reversed(contenders))
