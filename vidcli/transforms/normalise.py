"""Subtract the mean of each channel and divide by its deviation, with NumPy or on any device.

The constants of a whole row of pixels are used at once, which is several times faster than three channels at
a time and gives the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from vidcli.arrays import Float32

if TYPE_CHECKING:
    from torch import Tensor


class Normalisation:
    """Normalises clips of one width."""

    def __init__(self, mean: Sequence[float], std: Sequence[float], width: int) -> None:
        """Keep the constants of a row.

        Args:
            mean: of each channel.
            std: deviation of each channel.
            width: of the clips, in pixels.
        """
        self._rows = (tuple(mean) * width, tuple(std) * width)
        self._arrays = [np.array(row, np.float32) for row in self._rows]

    def of_array(self, clip_THWC: Float32) -> Float32:
        """Return a clip normalised in place."""
        mean_row, std_row = self._arrays
        rows = clip_THWC.reshape(-1, len(mean_row))
        rows -= mean_row
        rows /= std_row
        return rows.reshape(clip_THWC.shape)

    def of_tensor(self, clips_BTHWC: Tensor) -> Tensor:
        """Return contiguous clips normalised in place, where they are."""
        from vidcli.transforms.augment import constant

        mean_row, std_row = (constant(row, clips_BTHWC.device) for row in self._rows)
        clips_BTHWC.flatten(0, 2).flatten(1).sub_(mean_row).div_(std_row)
        return clips_BTHWC
