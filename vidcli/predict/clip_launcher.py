"""Clips through a network: begun at once, waited for when the answer is wanted, and timed.

Shape suffixes: V views, T frames, H W pixels, C channels, K classes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from vidcli.arrays import Float32, Float64
from vidcli.artifacts.exported import ExportedNetwork
from vidcli.predict.view_loader import ViewLoader
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
        network: nn.Module | ExportedNetwork,
        loader: ViewLoader,
        views_VTCHW: Float32 | Tensor,
        most_at_once: int,
        num_side_by_side: int,
    ) -> Callable[[], Float64]:
        """Begin to compute logits; what is returned waits for them, as (V, K).

        Args:
            network: lies on the device, and takes clips.
            loader: makes clips of pixels, on the device.
            views_VTCHW: clips, or their pixels.
            most_at_once: views that go through the network together.
            num_side_by_side: number of threads that call this at the same time.
        """
        assert not isinstance(network, ExportedNetwork)
        started = time.perf_counter()
        if network.training:  # `eval` visits every module: a tenth of a small model's time
            network.eval()
        views = torch.from_numpy(views_VTCHW) if isinstance(views_VTCHW, np.ndarray) else views_VTCHW
        # All views at once, unless that would fill the memory.
        parts = torch.split(views, most_at_once)
        finish = loader.transform.finish
        with torch.inference_mode():
            fetching = [start_fetching(network(self._bring(part, finish))) for part in parts]
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
            there_VTCHW = views_VTCHW.to(self._device, non_blocking=is_cuda)
            finished_VTCHW = finish(there_VTCHW) if there_VTCHW.dtype == torch.uint8 else there_VTCHW
        self._lanes.join(finished_VTCHW)
        return finished_VTCHW
