"""Find the window around motion, so that a small clip shows what matters.

    ┌────────────────────────┐    Most of what a fixed camera films is background. The smallest
    │        ┌─────────┐     │    window with 90% of the changes between frames is the same for
    │        │   ◜◝    │     │    all frames of a clip, so that motion in it stays the same. If
    │        │   ◟◞    │     │    the camera moves, the picture changes everywhere, and the
    │        └─────────┘     │    window is the whole frame.
    └────────────────────────┘

The window depends on the frames alone, so that it is the same in training, eval and predict.

Shape suffixes: T frames, H W pixels, C channels, h w cells of a coarse grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np

from vidcli.arrays import Bool, Float64, Frames, Int64

Window: TypeAlias = tuple[int, int, int, int]
"""Top, left, height and width in pixels."""

_CELLS = 48
"""Number of cells along the longer side: so few that one noisy pixel does not count."""
_ENERGY_KEPT = 0.9
"""Share of the changes that the window must hold."""
_NOISE_MEDIANS = 2.0
"""A cell counts only with the change beyond this many times the median, which is noise and flicker."""
_SHARE_STEP = 0.05


def motion_window(frames_THWC: Frames, proportions: tuple[int, int], smallest: float) -> Window:
    """Return the smallest window that holds nearly all motion.

    Args:
        frames_THWC: the frames of one clip.
        proportions: height and width of the clip, of which only the ratio counts.
        smallest: side of the smallest window, as a share of that of the largest one with these
            proportions.

    Returns:
        The window in pixels of the frames. Without motion it is the largest one, centred.
    """
    frame_height, frame_width = frames_THWC.shape[1:3]
    scale = min(frame_height / proportions[0], frame_width / proportions[1])
    largest = (proportions[0] * scale, proportions[1] * scale)
    energy_hw = _motion_energy(frames_THWC)
    rows, columns = energy_hw.shape
    # Differences of an integral image need double precision.
    integral = np.zeros((rows + 1, columns + 1))
    np.cumsum(energy_hw, axis=0, out=integral[1:, 1:])
    np.cumsum(integral[1:, 1:], axis=1, out=integral[1:, 1:])
    total = integral[-1, -1]
    share = smallest if total > 0 else 1.0
    while True:
        height, width = (max(1, round(side * share)) for side in largest)
        cells = (
            min(rows, max(1, round(height * rows / frame_height))),
            min(columns, max(1, round(width * columns / frame_width))),
        )
        held = _sums(integral, *cells)
        if share >= 1 or held.max() >= _ENERGY_KEPT * total:
            break
        share = min(1.0, share + _SHARE_STEP)
    row, column = _most_central(held, energy_hw, cells)
    top = min(round(row * frame_height / rows), frame_height - height)
    left = min(round(column * frame_width / columns), frame_width - width)
    return top, left, height, width


@dataclass(frozen=True)
class _Axis:
    """The cells along one side of a frame, which differ in size by a pixel.

    Attributes:
        first_pixels: position of the first pixel of each cell.
        sizes: number of pixels in each cell.
        other_pixels: for the second pixel of the cells, then for the third and so on: the cells that have
            such a pixel, and its position in each of them.
    """

    first_pixels: Int64
    sizes: Int64
    other_pixels: list[tuple[slice | Bool, Int64]]


@lru_cache(maxsize=128)
def _axis_of(length: int, side: float) -> _Axis:
    """Return the cells of about `side` pixels along a frame's side of `length` pixels."""
    first_pixels = np.unique(np.arange(0, length, side).astype(int))
    sizes = np.diff([*first_pixels, length])
    other_pixels: list[tuple[slice | Bool, Int64]] = []
    for offset in range(1, int(sizes.max())):
        have_it = sizes > offset
        other_pixels.append((slice(None) if have_it.all() else have_it, first_pixels[have_it] + offset))
    return _Axis(first_pixels, sizes, other_pixels)


def _motion_energy(frames_THWC: Frames) -> Float64:
    """Return how much each cell of a coarse grid changes between neighbouring frames, without noise."""
    height, width = frames_THWC.shape[1:3]
    side = max(1.0, max(height, width) / _CELLS)
    rows, columns = _axis_of(height, side), _axis_of(width, side)
    areas_hw = np.outer(rows.sizes, columns.sizes)
    if len(frames_THWC) < 2:
        return np.zeros(areas_hw.shape)
    cells_Thw = _cell_sums(frames_THWC, rows, columns) / areas_hw
    change_hw = np.abs(cells_Thw[1:] - cells_Thw[:-1]).mean(axis=0)
    energy_hw: Float64 = np.maximum(change_hw - _NOISE_MEDIANS * np.median(change_hw), 0)
    return energy_hw


def _cell_sums(frames_THWC: Frames, rows: _Axis, columns: _Axis) -> Float64:
    """Return the sum of the green channel over each cell, since green is most of the luma.

    One pixel of every cell is added at a time, which is twice as fast as `np.add.reduceat`. A product with
    a matrix of ones is as fast, but its threads hold up others.
    """
    length, height = frames_THWC.shape[:2]
    pixels_THX = frames_THWC.reshape(length, height, -1)  # all channels, since neighbours in memory add fast
    bands_ThX = pixels_THX[:, rows.first_pixels].astype(np.uint16)
    for cells, places in rows.other_pixels:
        bands_ThX[:, cells] += pixels_THX[:, places]
    green_ThW = bands_ThX[..., 1::3]
    sums_Thw = green_ThW[..., columns.first_pixels].astype(np.float64)
    for cells, places in columns.other_pixels:
        sums_Thw[..., cells] += green_ThW[..., places]
    return sums_Thw


def _sums(integral: Float64, height: int, width: int) -> Float64:
    """Return the energy in every window of `height` by `width` cells, by the top left cell of the window."""
    bottom, top = integral[height:], integral[: len(integral) - height]
    between = bottom - top
    sums: Float64 = between[:, width:] - between[:, : between.shape[1] - width]
    return sums


def _most_central(held: Float64, energy_hw: Float64, cells: tuple[int, int]) -> tuple[int, int]:
    """Return row and column of the window nearest to the centre of motion, of those with the most energy.

    Args:
        held: the energy in each window, by its top left cell.
        energy_hw: the energy in each cell.
        cells: height and width of a window in cells.
    """
    rows, columns = energy_hw.shape
    total = energy_hw.sum()
    if total:
        of_rows, of_columns = energy_hw.sum(axis=1), energy_hw.sum(axis=0)
        centre = (
            float((of_rows * (np.arange(rows) + 0.5)).sum() / total),
            float((of_columns * (np.arange(columns) + 0.5)).sum() / total),
        )
    else:
        centre = (rows / 2, columns / 2)
    good = np.argwhere(held >= 0.98 * held.max())
    distances = ((good + np.array(cells) / 2 - centre) ** 2).sum(axis=1)
    row, column = good[int(distances.argmin())]
    return int(row), int(column)
