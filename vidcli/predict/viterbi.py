"""The most probable sequence of labels of cells that come in order, told as far as it is certain.

    cells     0 1 2 3 4 5 6      Each label of the newest cell has its best path to there. Where all
    paths     a-a-b-b-b-a-a      paths agree, nothing that comes later changes them: the labels up to
                      \\b-b      cell 4 are certain.

Shape suffixes: N cells, K labels.
"""

from __future__ import annotations

import numpy as np

from vidcli.arrays import Float64, Int64
from vidcli.predict.merging import Cells, Stretch, equal_stretches

_FEWEST_NEW = 32
"""Cells that come before it is looked again how far paths agree."""


class ViterbiStream:
    """Find the best labels of cells that come in order, and return each stretch as soon as it is certain."""

    def __init__(self, scores: Cells, log_transitions_KK: Float64) -> None:
        """Begin before the first cell.

        Args:
            scores: the logarithmic score of each label in each cell (N, K), which must not change later.
            log_transitions_KK: score of each label, the column, in the cell after each other one, the row.
        """
        self._scores, self._transitions_KK = scores, log_transitions_KK
        self._score_K = np.zeros(len(log_transitions_KK))
        self._num_cells = 0
        self._before: list[Int64] = []  # of each cell that is not certain: the best label before each label
        self._num_next_look = _FEWEST_NEW
        self._open: Stretch | None = None  # the last stretch that is certain, but may go on

    def advance(self, num_cells: int) -> list[Stretch]:
        """Take the cells up to `num_cells`; return the stretches that are certain now."""
        for scores_K in self._scores(self._num_cells, num_cells):
            paths_KK = self._score_K[:, None] + self._transitions_KK
            if not self._before and self._open is None:
                paths_KK = np.zeros_like(paths_KK)  # nothing comes before the first cell
            before_K = paths_KK.argmax(axis=0)
            self._score_K = paths_KK[before_K, np.arange(len(before_K))] + scores_K
            self._score_K -= self._score_K.max()
            self._before.append(before_K)
        self._num_cells = num_cells
        if len(self._before) < self._num_next_look:
            return []
        found = self._settle()
        self._num_next_look = max(_FEWEST_NEW, 2 * len(self._before))
        return found

    def finish(self, num_cells: int) -> list[Stretch]:
        """Take the last cells; return all stretches that were not returned yet."""
        found = self.advance(num_cells)
        if self._before:
            found += self._add(self._trace(int(self._score_K.argmax()), len(self._before)))
        last, self._open, self._before = self._open, None, []
        return found if last is None else [*found, last]

    def _settle(self) -> list[Stretch]:
        """Return the stretches that the labels on which all paths agree make certain."""
        labels_K = np.arange(len(self._score_K))
        for place in range(len(self._before) - 1, 0, -1):
            labels_K = self._before[place][labels_K]
            if (labels_K == labels_K[0]).all():
                found = self._add(self._trace(int(labels_K[0]), place))
                del self._before[:place]
                return found
        return []

    def _trace(self, label: int, num_cells: int) -> list[int]:
        """Return the labels of the first cells that are not certain, of which the last has a given one."""
        labels = [label]
        for before_K in reversed(self._before[1:num_cells]):
            labels.append(int(before_K[labels[-1]]))
        return labels[::-1]

    def _add(self, labels: list[int]) -> list[Stretch]:
        """Add certain labels; return the stretches that these end."""
        first = 0 if self._open is None else self._open[1]
        found: list[Stretch] = []
        for start, end in equal_stretches(np.array(labels)):
            label = labels[start]
            if self._open is not None and self._open[2] == label:
                self._open = (self._open[0], first + end, label)
                continue
            found += [] if self._open is None else [self._open]
            self._open = (first + start, first + end, label)
        return found
