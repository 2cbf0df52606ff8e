"""A network over the cells of a timeline: what a moment is, from what was seen some seconds around it.

    cells_BDN    logarithms of the probability of each class, and how the box of the subject moves
      │ convolution over 5 cells
    x_BCN
      │ six residual layers, convolutions over 3 cells that are 1, 2, 4, 8, 16 and 32 cells apart
      │ layer norm, linear
    logits_BKN

A temporal convolutional network after Lea et al. 2017 and Abu Farha and Gall 2019 (MS-TCN), in one stage.

Shape suffixes: B recordings, N cells, D inputs of a cell, C channels, K classes, M motions of a box.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vidcli.arrays import Float64

NUM_MOTIONS = 4
"""What is said of a box: how quickly it moves across and down, its size and its proportions."""

_DILATIONS = (1, 2, 4, 8, 16, 32)
_FIRST = 5
REACH = _FIRST // 2 + sum(_DILATIONS)
"""Cells on either side of one that its answer depends on."""
_LEAST = 1e-3
"""Probabilities below are taken for this."""
_SCALE = 0.5


class _Layer(nn.Module):
    """Add what cells some way off say, each cell normalised by itself."""

    def __init__(self, channels: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.dilated = nn.Conv1d(channels, channels, 3, padding=dilation, dilation=dilation)
        self.mix = nn.Conv1d(channels, channels, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BCN: Tensor) -> Tensor:
        """Return the new x_BCN."""
        normal_BCN = self.norm(x_BCN.transpose(1, 2)).transpose(1, 2)
        changed_BCN: Tensor = x_BCN + self.dropout(self.mix(F.gelu(self.dilated(normal_BCN))))
        return changed_BCN


class TemporalNetwork(nn.Module):
    """See the module.

    Args:
        num_classes: K.
        channels: C.
        uses_motion: cells also say how the box of the subject moves.
        dropout: share of what a layer adds that is left out in training.
    """

    def __init__(self, num_classes: int, channels: int, uses_motion: bool, dropout: float = 0.0) -> None:
        super().__init__()
        self.uses_motion = uses_motion
        num_inputs = num_classes + (NUM_MOTIONS if uses_motion else 0)
        self.first = nn.Conv1d(num_inputs, channels, _FIRST, padding=_FIRST // 2)
        self.layers = nn.Sequential(*(_Layer(channels, dilation, dropout) for dilation in _DILATIONS))
        self.norm = nn.LayerNorm(channels)
        self.output = nn.Linear(channels, num_classes)

    def forward(self, cells_BDN: Tensor) -> Tensor:
        """Return logits_BKN."""
        x_BCN = self.layers(self.first(cells_BDN))
        logits_BNK: Tensor = self.output(self.norm(x_BCN.transpose(1, 2)))
        return logits_BNK.transpose(1, 2)

    @torch.inference_mode()
    def refine(self, probabilities_NK: Float64, motion_NM: Float64) -> Float64:
        """Return the probabilities (N, K) of cells, each in view of those around it.

        Args:
            probabilities_NK: as windows tell them.
            motion_NM: of the subject's box; not looked at by a network that does not use it.
        """
        cells_DN = cell_inputs(probabilities_NK, motion_NM if self.uses_motion else None)
        refined_NK: Float64 = torch.softmax(self(cells_DN[None])[0].double(), 0).T.numpy()
        return refined_NK


def cell_inputs(probabilities_NK: Float64, motion_NM: Float64 | None) -> Tensor:
    """Return what a network sees of cells (D, N)."""
    logarithms_NK = _SCALE * np.log(np.maximum(probabilities_NK, _LEAST))
    parts = [logarithms_NK] if motion_NM is None else [logarithms_NK, motion_NM]
    return torch.from_numpy(np.concatenate(parts, axis=1).T.astype(np.float32))


def seconds_seen(step_seconds: float) -> int:
    """Return how many seconds of cells that long the answer to one of them depends on."""
    return math.ceil((2 * REACH + 1) * step_seconds)
