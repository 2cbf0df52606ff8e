"""Clips through a network: begun at once, waited for when the answer is wanted, and timed.

Shape suffixes: V views, T frames, H W pixels, C channels, K classes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from vidcli.arrays import Float64
from vidcli.runtime.lanes import Lanes, start_fetching


class Launcher:
    """Gives a device clips to compute; several threads may do so.

    Attributes:
        seconds: the time that was spent on that so far.
    """

    def __init__(self, device: torch.device) -> None:
        """Count from zero.

        Args:
            device: where to compute.
        """
        self._device, self._lanes, self._counting = device, Lanes(device), threading.Lock()
        self.seconds = 0.0

    def begin(
        self,
        views_VTCHW: Tensor,
        most_at_once: int,
        finish: Callable[[Tensor], Tensor],
        compute: Callable[[Tensor], Tensor],
        num_side_by_side: int,
    ) -> Callable[[], Float64]:
        """Begin to compute logits; what is returned waits for them, as (V, K).

        Args:
            views_VTCHW: clips, their pixels, or what else `compute` takes.
            most_at_once: views that go through the network together.
            finish: makes clips of pixels, on the device.
            compute: takes views on the device, and returns their logits.
            num_side_by_side: number of threads that call this at the same time.
        """
        started = time.perf_counter()
        # All views at once, unless that would fill the memory.
        parts = torch.split(views_VTCHW, most_at_once)
        fetching = [start_fetching(compute(self._bring(part, finish))) for part in parts]
        begun = time.perf_counter() - started

        def wait() -> Float64:
            started = time.perf_counter()
            logits_VK = np.concatenate([fetch().double().numpy() for fetch in fetching])
            with self._counting:
                self.seconds += (begun + time.perf_counter() - started) / num_side_by_side
            return logits_VK

        return wait

    def _bring(self, views_VTCHW: Tensor, finish: Callable[[Tensor], Tensor]) -> Tensor:
        """Return views on the device, finished there while it still computes those before."""
        is_cuda = self._device.type == "cuda"  # elsewhere nothing says when such a copy is done
        with self._lanes.aside():
            finished_VTCHW = finish(views_VTCHW.to(self._device, non_blocking=is_cuda))
        self._lanes.join(finished_VTCHW)
        return finished_VTCHW
