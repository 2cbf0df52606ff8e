"""Clips through a network on the CPU, without torch where the network needs none, and timed.

Shape suffixes: V views, T frames, H W pixels, C channels, K classes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from vidcli.arrays import Float32, Float64
from vidcli.artifacts.exported import ExportedNetwork
from vidcli.predict.view_loader import ViewLoader
from vidcli.runtime.devices import CPU

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


class CoreComputer:
    """Computes clips in the thread that waits for their logits; several threads may do so.

    Attributes:
        seconds: the time that was spent on that so far.
    """

    def __init__(self) -> None:
        """Count from zero."""
        self._counting = threading.Lock()
        self.seconds = 0.0

    def begin(
        self,
        network: nn.Module | ExportedNetwork,
        loader: ViewLoader,
        views_VTCHW: Float32 | Tensor,
        most_at_once: int,
        num_side_by_side: int,
    ) -> Callable[[], Float64]:
        """Return what computes logits (V, K).

        Args:
            network: takes clips.
            loader: makes clips of pixels.
            views_VTCHW: clips, or their pixels.
            most_at_once: views that go through the network together.
            num_side_by_side: number of threads that call this at the same time.
        """
        clips_VTCHW = loader.finished(views_VTCHW)
        return partial(self._compute, network, clips_VTCHW, most_at_once, num_side_by_side)

    def _compute(
        self,
        network: nn.Module | ExportedNetwork,
        views_VTCHW: Float32,
        most_at_once: int,
        num_side_by_side: int,
    ) -> Float64:
        started = time.perf_counter()
        # All views at once, unless that would fill the memory.
        starts = range(0, len(views_VTCHW), most_at_once)
        logits_VK = np.concatenate(
            [_logits(network, views_VTCHW[start : start + most_at_once]) for start in starts]
        )
        with self._counting:
            self.seconds += (time.perf_counter() - started) / num_side_by_side
        return logits_VK


def _logits(network: nn.Module | ExportedNetwork, views_VTCHW: Float32) -> Float64:
    if isinstance(network, ExportedNetwork):
        return network(views_VTCHW).astype(np.float64)
    if network.training:  # `eval` visits every module: a tenth of a small model's time
        network.eval()
    return compute_in_torch(network, views_VTCHW)


def compute_in_torch(
    network: Callable[..., torch.Tensor], views: Float32, device: torch.device | None = None
) -> Float64:
    """Return what a torch network makes of clips, in double precision.

    Args:
        network: takes what the clips become on the device.
        views: the clips.
        device: where the network lies; None is the CPU.
    """
    import torch

    with torch.inference_mode():
        logits_VK: Float64 = network(torch.from_numpy(views).to(device or CPU)).double().cpu().numpy()
    return logits_VK
