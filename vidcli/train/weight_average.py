"""A running average of the weights: steadier than the last ones, at the cost of a copy."""

from __future__ import annotations

import copy

import torch

from vidcli.models import VideoModel


class WeightAverage:
    """Exponential moving average of a model's weights and BatchNorm statistics.

    The decay rises to its highest with the number of steps, so that the random start does not
    linger in short runs: min(decay, (1 + n) / (10 + n)) in step n, as TensorFlow's
    `ExponentialMovingAverage` does.
    """

    def __init__(self, model: VideoModel, decay: float) -> None:
        """Start at the weights there are.

        Args:
            model: whose weights to follow.
            decay: share of the average that a step keeps, 0 to 1.
        """
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self._decay = decay

    @torch.no_grad()
    def update(self, model: VideoModel, position: int) -> None:
        """Take in the weights after step `position`, counted over the whole run."""
        decay = min(self._decay, (1 + position) / (10 + position))
        values = model.state_dict()
        for name, average in self.model.state_dict().items():
            if average.is_floating_point():
                average.lerp_(values[name], 1 - decay)
            else:  # counters
                average.copy_(values[name])
