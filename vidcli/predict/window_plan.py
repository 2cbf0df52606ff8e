"""Which windows a timeline has, and what the cells between their starts are given by them.

Shape suffixes: N cells, K classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vidcli.arrays import Float64
from vidcli.config import Config
from vidcli.models.timeline_rules import TimelineRules

MAX_WINDOWS = 600
"""The most windows of a video for which the user chose none."""

_WINDOWS_A_STEP = 4
_CUT_WINDOWS_A_STEP = 8  # as far apart as the clips that are cut from spans
_FIRST_CELLS = 1024
_FAR = 1e-6  # weight of a window in a cell that is not at its middle, where no other window is


@dataclass(frozen=True)
class WindowPlan:
    """How windows lie on the grid of frames.

    Attributes:
        length: number of frames in a window, T.
        step: number of frames from one window to the next, and in a cell; divides the length.
        spacing_seconds: time from one frame of the grid to the next.
    """

    length: int
    step: int
    spacing_seconds: float

    @property
    def cell_seconds(self) -> float:
        """Duration of a cell."""
        return self.step * self.spacing_seconds

    @property
    def window_seconds(self) -> float:
        """Duration of a window."""
        return self.length * self.spacing_seconds

    @property
    def num_cells(self) -> int:
        """Number of cells in a window."""
        return self.length // self.step


def plan_windows(length: int, window_seconds: float, step_seconds: float | None = None) -> WindowPlan:
    """Return how windows of `length` frames lie on the grid.

    Args:
        length: number of frames in a window.
        window_seconds: duration of a window.
        step_seconds: wanted time from one window to the next; the nearest that divides a window is
            taken. None is a quarter of a window.
    """
    spacing = window_seconds / length
    wanted = (window_seconds / _WINDOWS_A_STEP if step_seconds is None else step_seconds) / spacing
    divisors = [step for step in range(1, length + 1) if length % step == 0]
    return WindowPlan(length, min(divisors, key=lambda step: (abs(step - wanted), step)), spacing)


def choose_plan(length: int, clip_seconds: float, duration_seconds: float) -> WindowPlan:
    """Return windows for a video for which the user chose none: at most about `MAX_WINDOWS` of them.

    A window is as long as the clips that the model learnt from, and starts a quarter of that after the
    one before. If that makes too many windows, they overlap less; if there are still too many, they
    are longer.

    Args:
        length: number of frames in a window.
        clip_seconds: duration of the clips that the model learnt from.
        duration_seconds: duration of the video.
    """
    usual = plan_windows(length, clip_seconds)
    for step in range(usual.step, length + 1):
        plan = WindowPlan(length, step, usual.spacing_seconds)
        if length % step == 0 and duration_seconds <= MAX_WINDOWS * plan.cell_seconds:
            return plan
    window = duration_seconds / MAX_WINDOWS
    # Rounded up to two digits, so that --window can repeat it.
    digit = 10.0 ** (math.floor(math.log10(window)) - 1)
    return WindowPlan(length, length, math.ceil(window / digit) * digit / length)


def learnt_plan(config: Config, rules: TimelineRules | None) -> WindowPlan | None:
    """Return the windows of a model that learnt from clips cut from recordings; None for other models.

    They are as long as these clips, however long the video is.

    Args:
        config: of the model.
        rules: that it learnt; None where it learnt none.
    """
    clip = config.clip
    if config.data.clips_per_span == 1 or clip.sampling != "dense":
        return None
    seconds = clip.length * clip.stride_seconds
    step = seconds / _CUT_WINDOWS_A_STEP if rules is None else rules.step_seconds
    return plan_windows(clip.length, seconds, step)


def window_weights(num_cells: int, reading: str) -> Float64:
    """Return how much a window counts in each of its cells.

    Args:
        num_cells: of a window.
        reading: `mean`, where all cells have the same; `middle`, where the one or two in the middle have all.
    """
    if reading == "mean":
        return np.ones(num_cells)
    weights = np.full(num_cells, _FAR)
    weights[(num_cells - 1) // 2 : num_cells // 2 + 1] = 1
    return weights


class WindowCells:
    """The sum of the probabilities of the windows over each cell, and of the weights of these windows.

    All cells lie in one array that grows. With an array of its own for each cell, hours of video took
    gigabytes: each small array stayed where the clips of its window had been, so that the next clip did
    not fit there.
    """

    def __init__(self, num_classes: int, weights: Float64) -> None:
        """Begin without windows.

        Args:
            num_classes: K.
            weights: how much a window counts in each of its cells.
        """
        self._weights = weights
        self._sums_NK = np.zeros((_FIRST_CELLS, num_classes))
        self._counts_N = np.zeros(_FIRST_CELLS)
        self._num_cells = self._num_windows = 0

    def add_window(self, probabilities_K: Float64) -> None:
        """Add a window, which starts one cell after the window before it."""
        num_cells = len(self._weights)
        first = self._num_cells - num_cells + 1 if self._num_cells else 0
        self._num_cells = first + num_cells
        if self._num_cells > len(self._counts_N):
            self._sums_NK = np.concatenate([self._sums_NK, np.zeros_like(self._sums_NK)])
            self._counts_N = np.concatenate([self._counts_N, np.zeros_like(self._counts_N)])
        self._sums_NK[first : self._num_cells] += self._weights[:, None] * probabilities_K
        self._counts_N[first : self._num_cells] += self._weights
        self._num_windows += 1

    @property
    def num_final(self) -> int:
        """Number of cells that no later window covers."""
        return self._num_windows

    def finish(self, num_cells: int) -> None:
        """Take all cells for known: they are as they are."""

    def means(self, start: int, end: int) -> Float64:
        """Return, for each cell from `start` up to `end`, the mean over its windows (N, K)."""
        covered = slice(start, min(end, self._num_cells))
        means_NK: Float64 = self._sums_NK[covered] / self._counts_N[covered, None]
        return means_NK
