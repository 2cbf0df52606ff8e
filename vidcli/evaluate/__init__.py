"""Scores of predictions of labelled videos, with intervals.

    scores        one class a video             reliability   whether probabilities can be believed
    multilabel    any number of classes         comparison    better than another model, or than guessing
    details       where a model is wrong        views         more clips a video
    answer_table  the answers, read back
    recordings    long ones, side by side with their labels: segment_scores, of which segment_matching and
                  time_precision are parts

A video that could not be decoded counts as wrong, because leaving it out would reward a model for data that
it cannot use.

Shape suffixes: N videos, K classes; K1 is K and one more for videos that failed.
"""

from __future__ import annotations

from vidcli.evaluate.comparison import Comparison, compare
from vidcli.evaluate.details import (
    Details,
    Example,
    SetExample,
    Slice,
    find_details,
    merge_small,
    predictions_csv,
)
from vidcli.evaluate.reliability import CalibrationScores, RiskCoverage
from vidcli.evaluate.scores import Evaluation, bootstrap_interval, bootstrap_over_groups, evaluate

__all__ = [
    "CalibrationScores",
    "Comparison",
    "Details",
    "Evaluation",
    "Example",
    "RiskCoverage",
    "SetExample",
    "Slice",
    "bootstrap_interval",
    "bootstrap_over_groups",
    "compare",
    "evaluate",
    "find_details",
    "merge_small",
    "predictions_csv",
]
