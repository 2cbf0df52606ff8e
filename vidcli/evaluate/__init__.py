"""Honest numbers from labelled predictions.

`scores` (one set of videos), `reliability` (can its probabilities be believed), `details` (where it
is wrong), `comparison` (is one model better than another), `table` (a row a video).

A video that could not be decoded counts as wrong: leaving it out would reward a model for data it
cannot use.

Shape suffixes: N videos, K classes; K1 is K and one more for videos that failed.
"""

from __future__ import annotations

from vidcli.evaluate.comparison import Comparison, compare
from vidcli.evaluate.details import Details, Example, SetExample, Slice, find_details, merge_small
from vidcli.evaluate.reliability import CalibrationScores, RiskCoverage
from vidcli.evaluate.scores import Evaluation, bootstrap_interval, bootstrap_over_groups, evaluate
from vidcli.evaluate.table import predictions_csv

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
