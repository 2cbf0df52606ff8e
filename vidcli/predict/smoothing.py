"""Smooth labels over time: none holds for fewer than a number of cells.

A run of at least `min_cells` cells of one label is never given to a neighbour, whatever comes. What lies
between two such runs is therefore smoothed the same with the rest of the video or without it:

    labels      aaaaabaccdccccc..      min_cells = 4
                aaaaa                  long enough: stays a
                          cccc         long enough: what is before these is certain
    certain     aaaaaaa                of the rest only the end is not known yet

Shape suffixes: N cells, L labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]

Cells: TypeAlias = Callable[[int, int], Floats]
"""Gives what is known of the cells from one to another, the end left out: a row a cell."""

Run: TypeAlias = tuple[int, int, int]
"""Start, end and label of cells of one label."""


def smooth_labels(probabilities_NK: Floats, min_cells: int) -> npt.NDArray[np.int64]:
    """Return the most probable label of each cell, none held for fewer than `min_cells` of them."""
    labels_N = probabilities_NK.argmax(axis=1)
    while True:
        runs = list(equal_stretches(labels_N))
        shortest = min(end - start for start, end in runs)
        if shortest >= min_cells or len(runs) == 1:
            return np.asarray(labels_N, dtype=np.int64)
        for start, end in runs:
            # Of neighbours that are equally short, one may have grown by the other.
            if end - start != shortest or _length_at(labels_N, start) != shortest:
                continue
            neighbours = [labels_N[place] for place in (start - 1, end) if 0 <= place < len(labels_N)]
            means = [probabilities_NK[start:end, label].mean() for label in neighbours]
            labels_N[start:end] = neighbours[int(np.argmax(means))]


def _length_at(labels_N: npt.NDArray[Any], place: int) -> int:
    """Return how many cells around a place have its label."""
    start = end = place
    while start > 0 and labels_N[start - 1] == labels_N[place]:
        start -= 1
    while end < len(labels_N) and labels_N[end] == labels_N[place]:
        end += 1
    return end - start


def equal_stretches(labels_N: npt.NDArray[Any]) -> Iterator[tuple[int, int]]:
    """Yield start and end of each stretch of equal labels."""
    start = 0
    for _, group in groupby(labels_N.tolist()):
        end = start + len(list(group))
        yield start, end
        start = end


class CertainRuns:
    """The runs that `smooth_labels` makes of cells that come in order, each as soon as it is certain."""

    def __init__(self, scores: Cells, min_cells: int) -> None:
        """Begin before the first cell.

        Args:
            scores: of each label in each cell (N, L); those of a cell never change once it was named.
            min_cells: the shortest run.
        """
        self._scores, self._min_cells = scores, min_cells
        self._num_cells = 0
        self._label, self._label_start = -1, 0  # of the last cells as they are, unsmoothed
        self._fixed_start = self._fixed_end = 0  # of the last run that was long enough by itself
        self._open_start = 0
        self._open_label = -1

    def advance(self, num_cells: int) -> list[Run]:
        """Take the cells up to `num_cells`; return the runs that are certain now."""
        found: list[Run] = []
        labels_N = self._scores(self._num_cells, num_cells).argmax(axis=1)
        for cell, label in enumerate(labels_N.tolist(), start=self._num_cells):
            if label != self._label:
                self._label, self._label_start = label, cell
            length = cell + 1 - self._label_start
            if length == self._min_cells:
                found += self._settle(cell + 1)
            if length >= self._min_cells:
                self._fixed_end = cell + 1
        self._num_cells = num_cells
        return found

    def finish(self, num_cells: int) -> list[Run]:
        """Take the last cells; return all runs that were not returned yet."""
        return [*self.advance(num_cells), *self._smoothed(num_cells)]

    def first_open(self, label: int) -> int:
        """Return the first cell at which a run of a label may start that was not returned yet."""
        return self._open_start if self._open_label in (label, -1) else self._fixed_end

    def _settle(self, end: int) -> list[Run]:
        *certain, last = self._smoothed(end)
        self._open_start, _, self._open_label = last
        self._fixed_start = end - self._min_cells
        return certain

    def _smoothed(self, end: int) -> list[Run]:
        first = self._fixed_start
        if end == first:
            return []
        labels_N = smooth_labels(self._scores(first, end), self._min_cells)
        runs = [
            (first + start, first + until, int(labels_N[start])) for start, until in equal_stretches(labels_N)
        ]
        runs[0] = (self._open_start, *runs[0][1:])
        return runs
