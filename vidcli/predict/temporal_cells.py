"""Cells of a timeline, seen again by a network over time as soon as enough cells after them are known.

    windows     ==============================......      known so far, not yet known
    answers     ====================~~~~~~~~~~            certain, waiting for the cells they depend on

Shape suffixes: N cells, K classes, M motions of a box, B boxes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vidcli.arrays import Float64
from vidcli.models.cell_refiner import NUM_MOTIONS, REACH, CellRefiner
from vidcli.predict.window_plan import WindowCells

if TYPE_CHECKING:
    from vidcli.config import SubjectConfig
    from vidcli.data.items import VideoItem

_FEWEST_NEW = 256
"""Cells that come before they are computed."""
_SHAPE_SCALE = 3.0
"""Of logarithms of size and proportions, which change less than places do."""


class SubjectMotion:
    """How the box of a subject moves, cell by cell; a picture without boxes does not."""

    def __init__(self, item: VideoItem, settings: SubjectConfig, cell_seconds: float) -> None:
        """Find the boxes.

        Args:
            item: a video, or one subject of it.
            settings: of subjects.
            cell_seconds: duration of a cell.

        Raises:
            DataError: there are no boxes of the subject.
            VideoError: the video cannot be opened.
        """
        self._cell_seconds = cell_seconds
        self._times_B: Float64 | None = None
        if item.track is None or settings.boxes is None:
            return
        from vidcli.data.subjects import find_subject  # Arrow, which a video without boxes does without

        subject = find_subject(item, settings)
        if subject is None:
            return
        self._times_B = subject.times_N
        sides_B2 = np.maximum(subject.boxes_N4[:, 2:], 1.0)
        middles_B2 = subject.boxes_N4[:, :2] + subject.boxes_N4[:, 2:] / 2
        sizes_B = np.log(sides_B2).mean(axis=1)
        usual = float(np.median(sizes_B))
        self._places_B2 = middles_B2 / np.exp(usual)
        self._shapes_B2 = _SHAPE_SCALE * np.stack(
            [sizes_B - usual, np.log(sides_B2[:, 0] / sides_B2[:, 1])], axis=1
        )

    def __call__(self, start: int, end: int) -> Float64:
        """Return the motion in the cells from `start` up to `end` (N, M).

        How far its middle goes to the right and down in a second, in sides of the usual box; then the
        logarithms of its size by the usual one, and of its width by its height.
        """
        if self._times_B is None:
            return np.zeros((end - start, NUM_MOTIONS))
        moments_N = (np.arange(start - 1, end) + 0.5) * self._cell_seconds
        known_N4 = np.stack(
            [
                np.interp(moments_N, self._times_B, column_B)
                for column_B in np.concatenate([self._places_B2, self._shapes_B2], axis=1).T
            ],
            axis=1,
        )
        speeds_N2 = np.diff(known_N4[:, :2], axis=0) / self._cell_seconds
        return np.concatenate([speeds_N2, known_N4[1:, 2:]], axis=1)


class TemporalCells:
    """The probabilities of cells as a network over time sees them."""

    def __init__(self, cells: WindowCells, refiner: CellRefiner, motion: SubjectMotion) -> None:
        """Begin before the first cell.

        Args:
            cells: as windows tell them.
            refiner: sees them again.
            motion: of the subject's box.
        """
        self._cells, self._refiner, self._motion = cells, refiner, motion
        self._refined_NK = np.zeros((0, refiner.num_classes))
        self._num_done = 0

    @property
    def num_final(self) -> int:
        """Number of cells that nothing which comes later changes."""
        known = self._cells.num_final
        if known - REACH - self._num_done >= _FEWEST_NEW:
            self._compute(known - REACH, known)
        return self._num_done

    def finish(self, num_cells: int) -> None:
        """Take all cells for known, and none to come after them."""
        if num_cells > self._num_done:
            self._compute(num_cells, num_cells)

    def means(self, start: int, end: int) -> Float64:
        """Return the probabilities of the cells from `start` up to `end` (N, K)."""
        return self._refined_NK[start : min(end, self._num_done)]

    def _compute(self, until: int, known: int) -> None:
        first = max(0, self._num_done - REACH)
        seen_NK = self._refiner.refine(self._cells.means(first, known), self._motion(first, known))
        if until > len(self._refined_NK):  # twice as long each time: many small arrays would take gigabytes
            longer = np.zeros((max(until, 2 * len(self._refined_NK)), self._refined_NK.shape[1]))
            longer[: self._num_done] = self._refined_NK[: self._num_done]
            self._refined_NK = longer
        self._refined_NK[self._num_done : until] = seen_NK[self._num_done - first : until - first]
        self._num_done = until
