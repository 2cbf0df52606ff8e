"""Cut a window around one subject out of each frame, before anything is scaled away.

    ┌────────────────────────┐    The window goes along with the subject. Its middle and its size are
    │ ┌─────┐      ┌────┐    │    averages over time, so that what the subject does stays visible in it
    │ │ ◜◝  │      │ ◠◡ │    │    and boxes that tremble do not. It has the proportions of the clip, and
    │ │ ◟◞  │      └────┘    │    never leaves the picture: at the border the subject is not in its middle.
    │ └─────┘ a         b    │
    └────────────────────────┘

Shape suffixes: N boxes, G moments of a grid, H W pixels, C channels.
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from vidcli.arrays import Float64, Frames
from vidcli.transforms.clip import ClipTransform
from vidcli.video import MovingWindow

_GRID_SECONDS = 0.04
_SIZE_BY_MIDDLE = 4
"""How much longer the size of a window is averaged over than its middle."""
_SMALLEST = 0.1
"""Of a window, as a share of the picture's shorter side."""
_NEARLY_SMALLEST = 0.05
"""Share of the moments at which a window may be smaller than what whole frames are scaled for."""


class SubjectWindow(MovingWindow):
    """The window around one subject of one video."""

    def __init__(
        self, times_N: Float64, boxes_N4: Float64, transform: ClipTransform, margin: float, smooth: float
    ) -> None:
        """Average the boxes over time.

        Args:
            times_N: in seconds from the first frame, ascending.
            boxes_N4: left, top, width and height of each box, in pixels of the upright frame.
            transform: makes clips of what is cut out.
            margin: side of a window by that of its box.
            smooth: seconds over which the middle is averaged.
        """
        count = int((times_N[-1] - times_N[0]) / _GRID_SECONDS) + 2
        self._times_G = times_N[0] + np.arange(count) * _GRID_SECONDS
        middles_N2 = boxes_N4[:, :2] + boxes_N4[:, 2:] / 2
        self._columns_G, self._rows_G, widths_G, heights_G = (
            averaged(np.interp(self._times_G, times_N, column_N), over / _GRID_SECONDS)
            for column_N, over in zip(
                np.concatenate([middles_N2, boxes_N4[:, 2:]], axis=1).T,
                (smooth, smooth, _SIZE_BY_MIDDLE * smooth, _SIZE_BY_MIDDLE * smooth),
                strict=True,
            )
        )
        self._high, self._wide = transform.proportions
        # How many times the proportions of the clip the window is large.
        self._scales_G = margin * np.maximum(widths_G / self._wide, heights_G / self._high)
        self._small, self._usual = np.quantile(self._scales_G, [_NEARLY_SMALLEST, 0.5]).tolist()
        self._decode_size = transform.decode_size

    def __call__(self, height: int, width: int) -> tuple[int, int]:
        """Return the size at which the smallest windows have about as many pixels as what is cut out."""
        scale = min(1.0, self.cut_size(height, width)[0] / self._size(self._small, height, width)[0])
        return max(1, round(height * scale)), max(1, round(width * scale))

    def cut_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the size of frames that `ClipTransform` takes, as if the video showed no more than this."""
        return self._decode_size(*self._size(self._usual, height, width))

    def cut(self, frame_HWC: Frames, seconds: float, upright_size: tuple[int, int]) -> Frames:
        """Return what is in the window; see `MovingWindow`."""
        left, top, width, height = self.at(seconds, *upright_size)
        down, across = frame_HWC.shape[0] / upright_size[0], frame_HWC.shape[1] / upright_size[1]
        box = left * across, top * down, (left + width) * across, (top + height) * down
        # Pillow takes fractions of pixels, so that a slow window does not jump; it copies what it is given.
        # Plain numbers: for so few, an operation of NumPy takes longer than scaling a small picture.
        first_column, first_row = max(0, math.floor(box[0]) - 2), max(0, math.floor(box[1]) - 2)
        near_HWC = frame_HWC[first_row : math.ceil(box[3]) + 2, first_column : math.ceil(box[2]) + 2]
        high, wide = near_HWC.shape[:2]
        inside = (
            min(max(box[0] - first_column, 0.0), wide),
            min(max(box[1] - first_row, 0.0), high),
            min(max(box[2] - first_column, 0.0), wide),
            min(max(box[3] - first_row, 0.0), high),
        )
        rows, columns = self.cut_size(*upright_size)
        picture = Image.fromarray(np.ascontiguousarray(near_HWC))
        return np.asarray(picture.resize((columns, rows), Image.Resampling.BILINEAR, inside))

    def at(self, seconds: float, height: int, width: int) -> tuple[float, float, float, float]:
        """Return left, top, width and height of the window.

        Args:
            seconds: the moment; before the first box and after the last one it stands still.
            height: of the upright frame, in pixels.
            width: of the upright frame.
        """
        column, row, scale = (
            float(np.interp(seconds, self._times_G, of_G))
            for of_G in (self._columns_G, self._rows_G, self._scales_G)
        )
        high, wide = self._fitted(scale, height, width)
        return (
            min(max(0.0, column - wide / 2), width - wide),
            min(max(0.0, row - high / 2), height - high),
            wide,
            high,
        )

    def _size(self, scale: float, height: int, width: int) -> tuple[int, int]:
        high, wide = self._fitted(scale, height, width)
        return max(1, round(high)), max(1, round(wide))

    def _fitted(self, scale: float, height: int, width: int) -> tuple[float, float]:
        """Return height and width of a window that is not too small, and no larger than the picture."""
        least = _SMALLEST * min(height, width) / max(self._high, self._wide)
        scale = min(max(scale, least), height / self._high, width / self._wide)
        return scale * self._high, scale * self._wide


def averaged(values_G: Float64, count: float) -> Float64:
    """Return the mean of the values around each one, taken twice; beyond an end they go on as they end.

    Args:
        values_G: on a grid.
        count: how many values a mean is of, rounded to an odd number.
    """
    around = min(int(count / 2), len(values_G) - 1)
    for _ in range(2 if around else 0):
        padded = np.pad(values_G, (around + 1, around), mode="edge")
        sums = np.cumsum(padded)
        values_G = (sums[2 * around + 1 :] - sums[: -2 * around - 1]) / (2 * around + 1)
    return values_G
