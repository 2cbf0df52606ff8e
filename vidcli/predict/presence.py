"""Segments of a subject that is not always in the picture: each of its visits is like a video of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from vidcli.arrays import Float64
from vidcli.predict.merging import Cells, SegmentStream
from vidcli.predict.segments import Segment

_NEARLY = 1e-6


def stream_present(
    make: Callable[[Cells], SegmentStream],
    cells: Cells,
    cell_seconds: float,
    present: Sequence[tuple[float, float]] | None,
) -> SegmentStream | PresentStream:
    """Return what joins cells into segments, none of which lies where the subject is away.

    Args:
        make: makes a stream of the cells of one visit.
        cells: the probability of each class in each cell (N, K).
        cell_seconds: duration of a cell.
        present: from where to where in seconds it is there; None for always.
    """
    return make(cells) if present is None else PresentStream(make, cells, cell_seconds, present)


class PresentStream:
    """Segments of the visits of a subject."""

    def __init__(
        self,
        make: Callable[[Cells], SegmentStream],
        cells: Cells,
        cell_seconds: float,
        present: Sequence[tuple[float, float]],
    ) -> None:
        """Begin before the first cell; see `stream_present` for the arguments."""
        self._make, self._cells, self._cell_seconds = make, cells, cell_seconds
        self._waiting = list(present)
        self._visit: tuple[float, float] | None = None
        self._stream: SegmentStream | None = None
        self._first = 0

    def advance(self, num_cells: int) -> list[Segment]:
        """Take the cells up to `num_cells`; return the segments that are certain now, by their start."""
        found: list[Segment] = []
        while self._begin(num_cells):
            assert self._stream is not None
            assert self._visit is not None
            end = self._visit[1] / self._cell_seconds
            if num_cells < end - _NEARLY:
                return found + self._placed(self._stream.advance(num_cells - self._first))
            found += self._end(math.ceil(end - _NEARLY), self._visit[1])
        return found

    def finish(self, num_cells: int, duration_seconds: float) -> list[Segment]:
        """Take the last cells; return all segments that were not returned yet.

        Args:
            num_cells: the number of all cells.
            duration_seconds: the end of a segment that reaches the last cell.
        """
        found = self.advance(num_cells)
        if self._stream is not None and self._visit is not None:
            found += self._end(num_cells, min(self._visit[1], duration_seconds))
        return found

    def _begin(self, num_cells: int) -> bool:
        """Go on to the visit that has cells now; tell whether there is one."""
        while self._stream is None and self._waiting:
            first = int(self._waiting[0][0] / self._cell_seconds + _NEARLY)
            if first >= num_cells:
                return False
            self._visit, self._first = self._waiting.pop(0), first
            self._stream = self._make(self._of_visit)
        return self._stream is not None

    def _of_visit(self, start: int, end: int) -> Float64:
        return self._cells(self._first + start, self._first + end)

    def _end(self, num_cells: int, until: float) -> list[Segment]:
        assert self._stream is not None
        offset = self._first * self._cell_seconds
        found = self._placed(self._stream.finish(num_cells - self._first, until - offset))
        self._stream = self._visit = None
        return found

    def _placed(self, segments: Sequence[Segment]) -> list[Segment]:
        """Return segments counted from the start of the video."""
        assert self._visit is not None
        offset = self._first * self._cell_seconds
        return [
            replace(
                one,
                start_seconds=max(self._visit[0], one.start_seconds + offset),
                end_seconds=one.end_seconds + offset,
            )
            for one in segments
        ]
