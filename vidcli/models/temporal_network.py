"""A network over the cells of a timeline: what a moment is, from what was seen some seconds around it.

    cells_BDN    logarithms of the probability of each class, and how the box of the subject moves
      │ convolution over 5 cells
    x_BCN
      │ six residual layers, convolutions over 3 cells that are 1, 2, 4, 8, 16 and 32 cells apart
      │ layer norm, linear
    logits_BKN

A temporal convolutional network after Lea et al. 2017 and Abu Farha and Gall 2019 (MS-TCN), in one stage.
This is what is trained; `cell_refiner` computes it afterwards.

Shape suffixes: B recordings, N cells, D inputs of a cell, C channels, K classes.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from vidcli.models.cell_refiner import DILATIONS, FIRST_SIZE, NUM_MOTIONS


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
        self.first = nn.Conv1d(num_inputs, channels, FIRST_SIZE, padding=FIRST_SIZE // 2)
        self.layers = nn.Sequential(*(_Layer(channels, dilation, dropout) for dilation in DILATIONS))
        self.norm = nn.LayerNorm(channels)
        self.output = nn.Linear(channels, num_classes)

    def forward(self, cells_BDN: Tensor) -> Tensor:
        """Return logits_BKN."""
        x_BCN = self.layers(self.first(cells_BDN))
        logits_BNK: Tensor = self.output(self.norm(x_BCN.transpose(1, 2)))
        return logits_BNK.transpose(1, 2)
