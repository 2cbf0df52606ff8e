"""Cells to segments: smooth the labels of cells over time, and join equal neighbours into segments.

Cells come in the order of time, and each segment is returned as soon as it is certain. That is possible
since a stretch of at least `min_cells` cells of one label is never given to a neighbour, whatever comes
later. What lies between two such stretches is smoothed the same with the rest of the video or without it:

    labels      aaaaabaccdccccc..      min_cells = 4
                aaaaa                  long enough: stays a
                          cccc         long enough: the label of every cell before these is certain
    certain     aaaaaaa                only the end of the following stretch is not known yet

Shape suffixes: N cells, L labels, K classes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from vidcli.arrays import Float64, Int64
from vidcli.predict.segments import UNKNOWN, Segment

Cells: TypeAlias = Callable[[int, int], Float64]
"""Returns a row of values for each cell from a first one up to an end, which is left out."""

Stretch: TypeAlias = tuple[int, int, int]
"""First cell, end (left out) and label of neighbouring cells that have one label."""

_REACHED = 0
"""The label, of two, of a cell in which a class reaches its threshold."""


def smooth_labels(probabilities_NK: Float64, min_cells: int | Sequence[int]) -> Int64:
    """Return the most probable label of each cell, smoothed so that no label lasts less than `min_cells`.

    The shortest stretches go first, for which their length counts as a share of what it should be. Each takes
    the label of the neighbour that is more probable there.

    Args:
        probabilities_NK: of each label in each cell.
        min_cells: the same for all labels, or one for each.
    """
    labels_N = probabilities_NK.argmax(axis=1)
    least_K = np.broadcast_to(min_cells, probabilities_NK.shape[1])
    while True:
        stretches = list(equal_stretches(labels_N))
        shares = [(end - start) / least_K[labels_N[start]] for start, end in stretches]
        shortest = min(shares)
        if shortest >= 1 or len(stretches) == 1:
            return np.asarray(labels_N, dtype=np.int64)
        for (start, end), share in zip(stretches, shares, strict=True):
            # Of neighbours that are equally short, one may have grown by the other.
            if share != shortest or _length_at(labels_N, start) != end - start:
                continue
            neighbours = [labels_N[place] for place in (start - 1, end) if 0 <= place < len(labels_N)]
            means = [probabilities_NK[start:end, label].mean() for label in neighbours]
            labels_N[start:end] = neighbours[int(np.argmax(means))]


def _length_at(labels_N: npt.NDArray[Any], place: int) -> int:
    """Return the length of the stretch that holds the cell at `place`."""
    start = end = place
    while start > 0 and labels_N[start - 1] == labels_N[place]:
        start -= 1
    while end < len(labels_N) and labels_N[end] == labels_N[place]:
        end += 1
    return end - start


def equal_stretches(labels_N: npt.NDArray[Any]) -> Iterator[tuple[int, int]]:
    """Yield the first cell and the end (left out) of each stretch of equal labels."""
    start = 0
    for _, group in groupby(labels_N.tolist()):
        end = start + len(list(group))
        yield start, end
        start = end


class StretchStream:
    """Smooth the labels of cells that come in order, and return each stretch as soon as it is certain.

    All stretches together are those of `smooth_labels` for the whole video.
    """

    def __init__(self, scores: Cells, min_cells: int | Sequence[int]) -> None:
        """Begin before the first cell.

        Args:
            scores: the score of each label in each cell (N, L), which must not change later.
            min_cells: length of the shortest stretch, in cells; the same for all labels, or one for each.
        """
        self._scores, self._min_cells = scores, min_cells
        self._num_cells = 0
        # The newest cells of one label, before smoothing.
        self._label, self._label_start = -1, 0
        # The newest stretch that was long enough before smoothing.
        self._fixed_start = self._fixed_end = 0
        # The first stretch that was not returned yet.
        self._open_start, self._open_label = 0, -1

    def advance(self, num_cells: int) -> list[Stretch]:
        """Take the cells up to `num_cells`; return the stretches that are certain now."""
        found: list[Stretch] = []
        labels_N = self._scores(self._num_cells, num_cells).argmax(axis=1)
        for cell, label in enumerate(labels_N.tolist(), start=self._num_cells):
            if label != self._label:
                self._label, self._label_start = label, cell
            length = cell + 1 - self._label_start
            least = self._min_cells if isinstance(self._min_cells, int) else self._min_cells[label]
            if length == least:
                found += self._settle(cell + 1, least)
            if length >= least:
                self._fixed_end = cell + 1
        self._num_cells = num_cells
        return found

    def finish(self, num_cells: int) -> list[Stretch]:
        """Take the last cells; return all stretches that were not returned yet."""
        return [*self.advance(num_cells), *self._smoothed(num_cells)]

    def first_open(self, label: int) -> int:
        """Return the first cell at which a stretch of `label` may start that was not returned yet."""
        return self._open_start if self._open_label in (label, -1) else self._fixed_end

    def _settle(self, end: int, least: int) -> list[Stretch]:
        *certain, last = self._smoothed(end)
        self._open_start, _, self._open_label = last
        self._fixed_start = end - least
        return certain

    def _smoothed(self, end: int) -> list[Stretch]:
        first = self._fixed_start
        if end == first:
            return []
        labels_N = smooth_labels(self._scores(first, end), self._min_cells)
        stretches = [
            (first + start, first + until, int(labels_N[start])) for start, until in equal_stretches(labels_N)
        ]
        stretches[0] = (self._open_start, *stretches[0][1:])
        return stretches


class Stretches(Protocol):
    """What makes stretches of cells that come in order."""

    def advance(self, num_cells: int) -> list[Stretch]:
        """Take the cells up to `num_cells`; return the stretches that are certain now."""

    def finish(self, num_cells: int) -> list[Stretch]:
        """Take the last cells; return all stretches that were not returned yet."""


class SegmentStream(ABC):
    """Join the cells of a video, which come in order, into segments."""

    def __init__(self, cells: Cells, class_names: Sequence[str], cell_seconds: float) -> None:
        """Begin before the first cell; see `stream_segments` for the arguments."""
        self._cells, self._class_names, self._cell_seconds = cells, class_names, cell_seconds

    @abstractmethod
    def advance(self, num_cells: int) -> list[Segment]:
        """Take the cells up to `num_cells`; return the segments that are certain now, by their start."""

    @abstractmethod
    def finish(self, num_cells: int, duration_seconds: float) -> list[Segment]:
        """Take the last cells; return all segments that were not returned yet.

        Args:
            num_cells: the number of all cells.
            duration_seconds: the end of a segment that reaches the last cell.
        """

    def _segment(self, stretch: Stretch, label: int, until: float | None) -> Segment:
        start, end, _ = stretch
        confidence = float(self._cells(start, end)[:, label].mean())
        until = end * self._cell_seconds if until is None else until
        return Segment(start * self._cell_seconds, until, self._class_names[label], confidence)


class OneLabelStream(SegmentStream):
    """Segments of a model whose classes exclude each other: one follows the other without gaps."""

    def __init__(
        self,
        cells: Cells,
        class_names: Sequence[str],
        cell_seconds: float,
        stretches: Stretches,
        threshold: float | None,
    ) -> None:
        """Begin before the first cell.

        Args:
            cells: as in `stream_segments`.
            class_names: as in `stream_segments`.
            cell_seconds: as in `stream_segments`.
            stretches: makes stretches of these cells.
            threshold: as in `stream_segments`.
        """
        super().__init__(cells, class_names, cell_seconds)
        self._threshold, self._stretches = threshold, stretches
        # An unknown segment waits, since the next one may be unknown too and join it.
        self._unknown: Segment | None = None

    def advance(self, num_cells: int) -> list[Segment]:
        """Take the cells up to `num_cells`; return the segments that are certain now, by their start."""
        found = self._stretches.advance(num_cells)
        return self._join(self._segment(stretch, stretch[2], None) for stretch in found)

    def finish(self, num_cells: int, duration_seconds: float) -> list[Segment]:
        """Take the last cells; return all segments that were not returned yet."""
        stretches = self._stretches.finish(num_cells)
        ends = [None if stretch[1] < num_cells else duration_seconds for stretch in stretches]
        found = self._join(
            self._segment(stretch, stretch[2], end) for stretch, end in zip(stretches, ends, strict=True)
        )
        last, self._unknown = self._unknown, None
        return found if last is None else [*found, last]

    def _join(self, segments: Iterable[Segment]) -> list[Segment]:
        """Return segments, of which unknown ones are joined with an unknown neighbour."""
        found: list[Segment] = []
        for segment in segments:
            before, self._unknown = self._unknown, None
            if self._threshold is None or segment.confidence >= self._threshold:
                found += [segment] if before is None else [before, segment]
                continue
            begin, until, confidence = segment.start_seconds, segment.end_seconds, segment.confidence
            if before is not None:
                lengths = before.end_seconds - before.start_seconds, until - begin
                confidence = float(np.average([before.confidence, confidence], weights=lengths))
                begin = before.start_seconds
            self._unknown = Segment(begin, until, UNKNOWN, confidence)
        return found


class MultiLabelStream(SegmentStream):
    """Segments of a multi-label model, class by class: they overlap, and may leave gaps."""

    def __init__(
        self,
        cells: Cells,
        class_names: Sequence[str],
        cell_seconds: float,
        min_cells: Sequence[int],
        thresholds: Sequence[float],
    ) -> None:
        """Begin before the first cell.

        Args:
            cells: as in `stream_segments`.
            class_names: as in `stream_segments`.
            cell_seconds: as in `stream_segments`.
            min_cells: length of the shortest stretch with each class, and of the shortest without it.
            thresholds: as in `stream_segments`.
        """
        super().__init__(cells, class_names, cell_seconds)
        self._stretches = [
            StretchStream(self._scores(label, threshold), min_cells[label])
            for label, threshold in enumerate(thresholds)
        ]
        # First cell, label and segment of what is certain, but may follow a segment that is not.
        self._waiting: list[tuple[int, int, Segment]] = []

    def advance(self, num_cells: int) -> list[Segment]:
        """Take the cells up to `num_cells`; return the segments that are certain now, by their start."""
        self._take([stretches.advance(num_cells) for stretches in self._stretches], num_cells, None)
        first_open = min(stretches.first_open(_REACHED) for stretches in self._stretches)
        return self._pop(lambda start: start < first_open)

    def finish(self, num_cells: int, duration_seconds: float) -> list[Segment]:
        """Take the last cells; return all segments that were not returned yet."""
        self._take(
            [stretches.finish(num_cells) for stretches in self._stretches], num_cells, duration_seconds
        )
        return self._pop(lambda start: True)

    def _scores(self, label: int, threshold: float) -> Cells:
        def scores(start: int, end: int) -> Float64:
            above_N = self._cells(start, end)[:, label] - threshold
            # At the threshold itself both scores are equal, and the first label wins.
            return np.stack([above_N, -above_N], axis=1)

        return scores

    def _take(self, found: Sequence[Sequence[Stretch]], num_cells: int, duration: float | None) -> None:
        for label, stretches in enumerate(found):
            for stretch in stretches:
                if stretch[2] == _REACHED:
                    until = duration if stretch[1] == num_cells else None
                    self._waiting.append((stretch[0], label, self._segment(stretch, label, until)))
        self._waiting.sort(key=lambda waiting: waiting[:2])

    def _pop(self, is_certain: Callable[[int], bool]) -> list[Segment]:
        popped = [segment for start, _, segment in self._waiting if is_certain(start)]
        del self._waiting[: len(popped)]
        return popped
