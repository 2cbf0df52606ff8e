"""Where in the frame things move: a window around it, so that few pixels show what matters.

    ┌────────────────────────┐    Most of a frame that a fixed camera films is background. The
    │        ┌─────────┐     │    smallest window that holds 90% of what changes from frame to
    │        │   ◜◝    │     │    frame is the same for all frames of a clip; what moves in it
    │        │   ◟◞    │     │    moves as before. A camera that moves changes the picture
    │        └─────────┘     │    everywhere, and the window grows to the whole frame.
    └────────────────────────┘

Pure numbers, no settings of its own: the same frames give the same window in training, eval and
predict.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Window: TypeAlias = tuple[int, int, int, int]
"""Top, left, height and width in pixels."""

_CELLS = 48
"""Cells along the longer side: coarse enough that one noisy pixel does not count."""
_ENERGY_KEPT = 0.9
_NOISE_MEDIANS = 2.0
"""A cell counts by what it changes beyond this many times the median cell: sensor noise, flicker."""
_SHARE_STEP = 0.05


def motion_window(
    frames_THWC: npt.NDArray[np.uint8], proportions: tuple[int, int], smallest: float
) -> Window:
    """Return the smallest window that holds nearly all motion.

    Args:
        frames_THWC: uint8, the frames of one clip.
        proportions: height and width, of which only the ratio counts.
        smallest: smallest share of the largest window of these proportions, along a side.

    Returns:
        top, left, height, width within the frame. Without motion the largest window, centred.
    """
    frame_height, frame_width = frames_THWC.shape[1:3]
    scale = min(frame_height / proportions[0], frame_width / proportions[1])
    largest = (proportions[0] * scale, proportions[1] * scale)
    energy_hw = _motion_energy(frames_THWC)
    rows, columns = energy_hw.shape
    # In double precision the corners of the integral image tell windows apart exactly enough.
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
    """The cells along one side of a frame.

    Attributes:
        edges: the first pixel of each cell.
        sizes: pixels of each cell.
        further: of the cells' second pixels, third ones and so on: which cells have one, and where it is.
    """

    edges: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    further: list[tuple[slice | npt.NDArray[np.bool_], npt.NDArray[np.int64]]]


@lru_cache(maxsize=128)
def _axis_of(length: int, side: float) -> _Axis:
    """Return the cells of `side` pixels along an axis; a data set has few sizes of frames."""
    edges = np.unique(np.arange(0, length, side).astype(int))
    sizes = np.diff([*edges, length])
    further: list[tuple[slice | npt.NDArray[np.bool_], npt.NDArray[np.int64]]] = []
    for offset in range(1, int(sizes.max())):
        have_it = sizes > offset
        further.append((slice(None) if have_it.all() else have_it, edges[have_it] + offset))
    return _Axis(edges, sizes, further)


def _motion_energy(frames_THWC: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Return how much each cell of a coarse grid changes between neighbouring frames, less noise."""
    height, width = frames_THWC.shape[1:3]
    side = max(1.0, max(height, width) / _CELLS)
    rows, columns = _axis_of(height, side), _axis_of(width, side)
    areas_hw = np.outer(rows.sizes, columns.sizes)
    if len(frames_THWC) < 2:
        return np.zeros(areas_hw.shape)
    cells_Thw = _cell_sums(frames_THWC, rows, columns) / areas_hw
    change_hw = np.abs(cells_Thw[1:] - cells_Thw[:-1]).mean(axis=0)
    energy_hw: npt.NDArray[np.float64] = np.maximum(change_hw - _NOISE_MEDIANS * np.median(change_hw), 0)
    return energy_hw


def _cell_sums(frames_THWC: npt.NDArray[np.uint8], rows: _Axis, columns: _Axis) -> npt.NDArray[np.float64]:
    """Return the sum over each cell of what is green: most of the luma, for a third of the work.

    A pixel of every cell at a time, which is twice as fast as `np.add.reduceat`. (A product with ones is as
    fast, but wakes the threads of the linear algebra, which then wait for more and hold up others.)
    """
    length, height = frames_THWC.shape[:2]
    pixels_THX = frames_THWC.reshape(length, height, -1)  # all channels: neighbours in memory add fast
    bands_ThX = pixels_THX[:, rows.edges].astype(np.uint16)
    for cells, places in rows.further:
        bands_ThX[:, cells] += pixels_THX[:, places]
    green_ThW = bands_ThX[..., 1::3]
    sums_Thw = green_ThW[..., columns.edges].astype(np.float64)
    for cells, places in columns.further:
        sums_Thw[..., cells] += green_ThW[..., places]
    return sums_Thw


def _sums(integral: npt.NDArray[np.float64], height: int, width: int) -> npt.NDArray[np.float64]:
    """Return the energy of every window of `height` by `width` cells, by its top left cell."""
    bottom, top = integral[height:], integral[: len(integral) - height]
    between = bottom - top
    sums: npt.NDArray[np.float64] = between[:, width:] - between[:, : between.shape[1] - width]
    return sums


def _most_central(
    held: npt.NDArray[np.float64], energy_hw: npt.NDArray[np.float64], cells: tuple[int, int]
) -> tuple[int, int]:
    """Return the window, of those that hold as good as the most, nearest to the centre of motion."""
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
