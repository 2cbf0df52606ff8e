"""Join cells into segments: all at once, or as they come, each segment as soon as it is certain.

Shape suffixes: N cells, K classes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from vidcli.predict.segments import UNKNOWN, Floats, Segment
from vidcli.predict.smoothing import Cells, CertainRuns, Run


def merge_cells(
    probabilities_NK: Floats,
    class_names: Sequence[str],
    cell_seconds: float,
    min_seconds: float,
    duration_seconds: float,
    threshold: float | None = None,
) -> tuple[Segment, ...]:
    """Join neighbouring cells of one label into segments.

    Where a label holds for less than `min_seconds`, the shortest such places go first to the
    neighbour whose label is the more probable there. Segments less confident than the threshold
    are unknown, and one with unknown neighbours.
    """
    cells = _rows_of(probabilities_NK)
    stream = OneLabelStream(cells, class_names, cell_seconds, min_seconds, threshold)
    return tuple(stream.finish(len(probabilities_NK), duration_seconds))


def merge_classes(
    probabilities_NK: Floats,
    class_names: Sequence[str],
    cell_seconds: float,
    min_seconds: float,
    duration_seconds: float,
    thresholds: Sequence[float],
) -> tuple[Segment, ...]:
    """Join neighbouring cells in which a class reaches its threshold into segments, class by class.

    A span shorter than `min_seconds`, in which a class holds or does not, becomes as what is around it,
    the shortest ones first.
    """
    cells = _rows_of(probabilities_NK)
    stream = ManyLabelsStream(cells, class_names, cell_seconds, min_seconds, thresholds)
    return tuple(stream.finish(len(probabilities_NK), duration_seconds))


_HOLDS = 0
"""The label, of two, of a cell in which a class reaches its threshold."""


class SegmentStream(ABC):
    """The segments of a video whose cells come in order, by their start, each as soon as it is certain."""

    def __init__(self, cells: Cells, class_names: Sequence[str], cell_seconds: float) -> None:
        """Begin before the first cell; `cells` gives the probabilities of each class (N, K)."""
        self._cells, self._class_names, self._cell_seconds = cells, class_names, cell_seconds

    @abstractmethod
    def advance(self, num_cells: int) -> list[Segment]:
        """Take the cells up to `num_cells`; return the segments that are certain now."""

    @abstractmethod
    def finish(self, num_cells: int, duration_seconds: float) -> list[Segment]:
        """Take the last cells; return all segments that were not returned yet.

        Args:
            num_cells: cells in all.
            duration_seconds: where a segment ends that reaches the last cell.
        """

    def _segment(self, run: Run, label: int, until: float | None) -> Segment:
        start, end, _ = run
        confidence = float(self._cells(start, end)[:, label].mean())
        until = end * self._cell_seconds if until is None else until
        return Segment(start * self._cell_seconds, until, self._class_names[label], confidence)


class OneLabelStream(SegmentStream):
    """Of a model whose classes exclude each other: segments without gaps; see `merge_cells`."""

    def __init__(
        self,
        cells: Cells,
        class_names: Sequence[str],
        cell_seconds: float,
        min_seconds: float,
        threshold: float | None,
    ) -> None:
        """Begin; segments less confident than the threshold are unknown."""
        super().__init__(cells, class_names, cell_seconds)
        self._threshold = threshold
        self._runs = CertainRuns(cells, _min_cells(min_seconds, cell_seconds))
        self._unknown: Segment | None = None  # the next one may be unknown too, and join it

    def advance(self, num_cells: int) -> list[Segment]:
        """Take the cells up to `num_cells`; return the segments that are certain now."""
        return self._join(self._segment(run, run[2], None) for run in self._runs.advance(num_cells))

    def finish(self, num_cells: int, duration_seconds: float) -> list[Segment]:
        """Take the last cells; return all segments that were not returned yet."""
        runs = self._runs.finish(num_cells)
        ends = [None if run[1] < num_cells else duration_seconds for run in runs]
        found = self._join(self._segment(run, run[2], end) for run, end in zip(runs, ends, strict=True))
        last, self._unknown = self._unknown, None
        return found if last is None else [*found, last]

    def _join(self, segments: Iterable[Segment]) -> list[Segment]:
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


class ManyLabelsStream(SegmentStream):
    """Of a model whose classes hold one beside the other: see `merge_classes`."""

    def __init__(
        self,
        cells: Cells,
        class_names: Sequence[str],
        cell_seconds: float,
        min_seconds: float,
        thresholds: Sequence[float],
    ) -> None:
        """Begin; a class holds where it reaches its threshold."""
        super().__init__(cells, class_names, cell_seconds)
        min_cells = _min_cells(min_seconds, cell_seconds)
        self._runs = [
            CertainRuns(self._scores(label, threshold), min_cells)
            for label, threshold in enumerate(thresholds)
        ]
        self._waiting: list[tuple[int, int, Segment]] = []  # with their first cell and their class

    def advance(self, num_cells: int) -> list[Segment]:
        """Take the cells up to `num_cells`; return the segments that are certain now."""
        self._take([runs.advance(num_cells) for runs in self._runs], num_cells, None)
        first_open = min(runs.first_open(_HOLDS) for runs in self._runs)
        return self._give(lambda start: start < first_open)

    def finish(self, num_cells: int, duration_seconds: float) -> list[Segment]:
        """Take the last cells; return all segments that were not returned yet."""
        self._take([runs.finish(num_cells) for runs in self._runs], num_cells, duration_seconds)
        return self._give(lambda start: True)

    def _scores(self, label: int, threshold: float) -> Cells:
        def scores(start: int, end: int) -> Floats:
            above_N = self._cells(start, end)[:, label] - threshold
            # Label 0 holds; at the threshold itself it is the first of two that are equal.
            return np.stack([above_N, -above_N], axis=1)

        return scores

    def _take(self, found: Sequence[Sequence[Run]], num_cells: int, duration: float | None) -> None:
        for label, runs in enumerate(found):
            for run in runs:
                if run[2] == _HOLDS:
                    until = duration if run[1] == num_cells else None
                    self._waiting.append((run[0], label, self._segment(run, label, until)))
        self._waiting.sort(key=lambda waiting: waiting[:2])

    def _give(self, is_certain: Callable[[int], bool]) -> list[Segment]:
        given = [segment for start, _, segment in self._waiting if is_certain(start)]
        del self._waiting[: len(given)]
        return given


def stream_segments(
    cells: Cells,
    class_names: Sequence[str],
    cell_seconds: float,
    min_seconds: float,
    threshold: float | None,
    thresholds: Sequence[float] | None,
) -> SegmentStream:
    """Return what tells segments as they become certain.

    Args:
        cells: the probabilities of each class in the cells from one to another (N, K).
        class_names: position is label.
        cell_seconds: time of a cell.
        min_seconds: what holds for less goes to a neighbour.
        threshold: segments less confident than that are unknown; None names them all.
        thresholds: of a multi-label model, the probability from which each class holds, else None.
    """
    if thresholds is not None:
        return ManyLabelsStream(cells, class_names, cell_seconds, min_seconds, thresholds)
    return OneLabelStream(cells, class_names, cell_seconds, min_seconds, threshold)


def _min_cells(min_seconds: float, cell_seconds: float) -> int:
    """Return the cells of the shortest segment."""
    return max(1, round(min_seconds / cell_seconds))


def _rows_of(probabilities_NK: Floats) -> Cells:
    return lambda start, end: probabilities_NK[start:end]
