"""How the cells of a timeline become segments: smoothed as the user says, or as was learnt."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vidcli.arrays import Float64
from vidcli.models.timeline_rules import TimelineRules
from vidcli.predict.merging import (
    Cells,
    MultiLabelStream,
    OneLabelStream,
    SegmentStream,
    Stretches,
    StretchStream,
)
from vidcli.predict.viterbi import ViterbiStream

_TINY = 1e-6


def stream_segments(
    cells: Cells,
    class_names: Sequence[str],
    cell_seconds: float,
    min_seconds: float,
    threshold: float | None,
    thresholds: Sequence[float] | None,
    rules: TimelineRules | None = None,
) -> SegmentStream:
    """Return what joins cells into segments.

    A stretch shorter than `min_seconds` becomes a part of a neighbour, the shortest first. In a
    multi-label model that holds for a stretch in which a class is as for one in which it is not.

    Args:
        cells: the probability of each class in each cell (N, K).
        class_names: the names of the K classes; a class's position is its label.
        cell_seconds: duration of a cell.
        min_seconds: duration of the shortest segment.
        threshold: a segment whose mean probability is lower is unknown; None makes none unknown.
        thresholds: for each class of a multi-label model, the probability from which a cell has the
            class; None for any other model.
        rules: how to smooth, as was learnt, in place of `min_seconds` and `thresholds`.
    """
    if thresholds is not None:
        shortest = [min_seconds] * len(class_names)
        if rules is not None:
            shortest = [*rules.min_seconds] or [0.0] * len(class_names)
            thresholds = rules.thresholds or thresholds
        min_cells = [_in_cells(seconds, cell_seconds) for seconds in shortest]
        return MultiLabelStream(cells, class_names, cell_seconds, min_cells, thresholds)
    stretches: Stretches = StretchStream(cells, _in_cells(min_seconds, cell_seconds))
    if rules is not None:
        stretches = _smoothed(cells, cell_seconds, rules)
    return OneLabelStream(cells, class_names, cell_seconds, stretches, threshold)


def _in_cells(seconds: float, cell_seconds: float) -> int:
    return max(1, round(seconds / cell_seconds))


def _smoothed(cells: Cells, cell_seconds: float, rules: TimelineRules) -> Stretches:
    if rules.smoothing == "viterbi":
        prior_K = np.array(rules.log_prior)

        def scores(start: int, end: int) -> Float64:
            logarithms_NK = np.log(np.maximum(cells(start, end), _TINY))
            return np.asarray(rules.weight * (logarithms_NK - prior_K), dtype=np.float64)

        return ViterbiStream(scores, np.array(rules.log_transitions))
    if rules.smoothing == "duration":
        return StretchStream(cells, [_in_cells(seconds, cell_seconds) for seconds in rules.min_seconds])
    return StretchStream(cells, 1)
