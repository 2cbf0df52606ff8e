"""Work beside a device's main work, and the time between two points of that work.

    side   copy 2 | finish 2 |          copy 3 | finish 3 |
    main   model on batch 1            | model on batch 2            |
                                       ^ asked, ready: the main work never stood still

A CPU has one lane: what is done aside is done at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

Seconds = Callable[[], float]


class Lanes:
    """The main lane of a device, and one beside it."""

    def __init__(self, device: torch.device) -> None:
        """Open the side lane.

        Args:
            device: where work is done; only CUDA has two lanes.
        """
        self._device = device
        self._side: torch.cuda.Stream | None = None
        if device.type == "cuda":
            self._side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def aside(self) -> AbstractContextManager[object]:
        """Within this, operations of the device are done in the side lane."""
        return nullcontext() if self._side is None else torch.cuda.stream(self._side)

    def join(self, tensor: Tensor) -> None:
        """Let the main lane wait for what was done aside before it goes on, and use a tensor from there."""
        if self._side is not None:
            main = torch.cuda.current_stream(self._device)
            main.wait_stream(self._side)
            tensor.record_stream(main)

    def start_watch(self) -> Callable[[], Seconds]:
        """Begin to time the main lane, at the moment it has done everything that it was given so far.

        Returns:
            A function that ends it likewise, and returns one that tells the seconds between.
        """
        if self._side is None:
            begun = time.perf_counter()

            def stop() -> Seconds:
                seconds = time.perf_counter() - begun
                return lambda: seconds

            return stop
        main = torch.cuda.current_stream(self._device)
        start, end = (
            torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            for _ in range(2)
        )
        start.record(main)

        def stop_there() -> Seconds:
            end.record(main)
            return lambda: _seconds_between(start, end)

        return stop_there


def _seconds_between(start: torch.cuda.Event, end: torch.cuda.Event) -> float:
    end.synchronize()
    milliseconds: float = start.elapsed_time(end)
    return milliseconds / 1000


def start_fetching(tensor: Tensor) -> Callable[[], Tensor]:
    """Begin to copy a tensor to the CPU after the work that makes it, before whatever its device does next.

    Returns:
        A function that waits for the copy and returns it.
    """
    if tensor.device.type != "cuda":
        return lambda: tensor.cpu()
    copy = tensor.to("cpu", non_blocking=True)  # torch makes it page-locked
    is_there = torch.cuda.Event()  # type: ignore[no-untyped-call]
    is_there.record(torch.cuda.current_stream(tensor.device))

    def wait() -> Tensor:
        is_there.synchronize()
        return copy

    return wait
