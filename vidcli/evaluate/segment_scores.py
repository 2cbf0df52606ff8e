"""Scores of timelines of long recordings against what a person labelled in them.

Time is cut into short frames. What nobody labelled is not judged: neither side of it counts.

    time          frame accuracy, F1 and average precision of each class
    segments      F1 at overlaps of 10, 25 and 50%, edit score (Lea et al., CVPR 2017)
    detection     mean average precision at temporal overlaps of 0.3 to 0.7 (Caba Heilbron et al., CVPR 2015)
    bouts         missed, false, split and merged ones; errors of start and end

Intervals are percentile bootstraps over groups of recordings. All but the average precisions are functions
of sums over recordings, so that a draw of recordings is a product of matrices.

Shape suffixes: R recordings, N frames, K classes, S segments, D draws, M sums.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vidcli.arrays import Float64, Int64
from vidcli.evaluate.segment_matching import (
    ScoredRecording,
    edit_score,
    label_runs,
    match_segments,
    runs_of,
    temporal_ious,
)
from vidcli.evaluate.time_precision import Precision, detection_precision, frame_precision, ratio

OVERLAPS = (0.1, 0.25, 0.5)
"""Of the segmental F1."""
TEMPORAL_IOUS = (0.3, 0.4, 0.5, 0.6, 0.7)
"""Of the mean average precision of detection."""
_NUM_DRAWS = 1000
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Score:
    """A number with its 95% interval over recordings; None where it is not defined, or cannot be drawn."""

    value: float | None
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class TimelineScores:
    """Scores of the timelines of several recordings.

    Attributes:
        num_recordings: scored.
        labelled_seconds: time that is judged.
        unlabelled_seconds: time that nobody labelled.
        baseline: share of the time for which always answering the most frequent class is right.
        overall: scores of all classes together, by name.
        per_class: for each class scores by name; numbers of bouts and seconds have no interval.
    """

    num_recordings: int
    labelled_seconds: float
    unlabelled_seconds: float
    baseline: float
    overall: Mapping[str, Score]
    per_class: Sequence[Mapping[str, Score]]


def score_timelines(recordings: Sequence[ScoredRecording], seed: int = 0) -> TimelineScores:
    """Return the scores of timelines.

    Args:
        recordings: at least one, all of the same classes.
        seed: of the bootstrap's draws.
    """
    sums_RM = np.stack([_sums(recording) for recording in recordings])
    draws_DR = draw_recordings([recording.group for recording in recordings], seed)
    draws_DM = None if draws_DR is None else draws_DR @ sums_RM
    num_classes = recordings[0].truth_NK.shape[1]
    total_M = sums_RM.sum(axis=0)
    layout = _Layout(num_classes)

    def score(value: Callable[[Float64], Float64]) -> Score:
        return _score(value(total_M[None])[0], None if draws_DM is None else value(draws_DM))

    frame_aps = [frame_precision(recordings, k, draws_DR) for k in range(num_classes)]
    detection_aps = {
        iou: [detection_precision(recordings, k, iou, draws_DR) for k in range(num_classes)]
        for iou in TEMPORAL_IOUS
    }
    overall = {name: score(function) for name, function in _overall(layout).items()}
    if recordings[0].is_multi_label:
        overall["edit_score"] = Score(None, None)
    overall["frame_map"] = _mean_score(frame_aps)
    overall |= {f"map@{iou:g}": _mean_score(aps) for iou, aps in detection_aps.items()}
    overall["map@0.3:0.7"] = _mean_score([pair for aps in detection_aps.values() for pair in aps])
    per_class = [
        {name: score(function) for name, function in _of_class(layout, k).items()}
        | {"average_precision": _mean_score([frame_aps[k]])}
        for k in range(num_classes)
    ]
    seconds = layout.take(total_M, "true_seconds")
    labelled = float(layout.take(total_M, "known")[0])
    unlabelled = sum(float((~one.known_N).sum()) * one.frame_seconds for one in recordings)
    nothing = labelled - float(layout.take(total_M, "any_true")[0])
    baseline = max(float(seconds.max(initial=0.0)), nothing) / labelled if labelled else 0.0
    return TimelineScores(len(recordings), labelled, unlabelled, baseline, overall, per_class)


def draw_recordings(groups: Sequence[str], seed: int) -> Float64 | None:
    """Return how often each recording is in each draw (D, R); None with fewer than two groups.

    Args:
        groups: of each recording; those of one are drawn together.
        seed: of the draws.
    """
    _, group_R = np.unique(groups, return_inverse=True)
    num_groups = int(group_R.max()) + 1
    if num_groups < 2:
        return None
    rng = np.random.default_rng(seed)
    counts_DG = rng.multinomial(num_groups, np.full(num_groups, 1 / num_groups), size=_NUM_DRAWS)
    return counts_DG[:, group_R].astype(np.float64)


_BOUT_SUMS = (
    "true", "predicted", "missed", "false", "split", "merged", "pairs", "start_error", "end_error",
)  # fmt: skip


class _Layout:
    """Where each sum over recordings lies among the M of them; those that end in _K are one a class."""

    _WIDE = ("true_seconds", "predicted_seconds", "both_seconds", *_BOUT_SUMS)
    _NARROW = ("one", "known", "right", "any_true", "edit")

    def __init__(self, num_classes: int) -> None:
        self._places: dict[str, slice] = {}
        last = 0
        widths = [(name, num_classes) for name in self._WIDE] + [(name, 1) for name in self._NARROW]
        for name, width in [*widths, ("hits", len(OVERLAPS))]:
            self._places[name] = slice(last, last + width)
            last += width

    def take(self, sums: Float64, name: str) -> Float64:
        """Return the sums of a name, along the last axis."""
        return sums[..., self._places[name]]

    def put(self, values: Mapping[str, npt.ArrayLike]) -> Float64:
        """Return all sums as one row."""
        return np.concatenate([np.atleast_1d(np.asarray(values[name], np.float64)) for name in self._places])


def _sums(recording: ScoredRecording) -> Float64:
    """Return what one recording adds to each sum."""
    known_N, seconds = recording.known_N, recording.frame_seconds
    truth_NK = recording.truth_NK & known_N[:, None]
    predicted_NK = recording.predicted_NK & known_N[:, None]
    num_classes = truth_NK.shape[1]
    both_NK = truth_NK & predicted_NK
    if recording.is_multi_label:
        right_N = (truth_NK == predicted_NK).all(axis=1) & known_N
    else:
        right_N = both_NK.any(axis=1)
    bouts = {name: np.zeros(num_classes) for name in _BOUT_SUMS}
    hits = np.zeros(len(OVERLAPS))
    for k in range(num_classes):
        true_S2, predicted_S2 = runs_of(truth_NK[:, k]), runs_of(predicted_NK[:, k])
        ious = temporal_ious(predicted_S2, true_S2)
        hits += [match_segments(ious, least).sum() for least in OVERLAPS]
        for name, value in _count_bouts(true_S2, predicted_S2, ious, seconds).items():
            bouts[name][k] = value
    edit = 0.0
    if not recording.is_multi_label:
        edit = edit_score(label_runs(truth_NK, known_N), label_runs(predicted_NK, known_N))
    return _Layout(num_classes).put(
        {
            **bouts,
            "true_seconds": truth_NK.sum(axis=0) * seconds,
            "predicted_seconds": predicted_NK.sum(axis=0) * seconds,
            "both_seconds": both_NK.sum(axis=0) * seconds,
            "one": 1,
            "known": known_N.sum() * seconds,
            "right": right_N.sum() * seconds,
            "any_true": truth_NK.any(axis=1).sum() * seconds,
            "edit": edit,
            "hits": hits,
        }
    )


def _count_bouts(true_S2: Int64, predicted_S2: Int64, ious: Float64, seconds: float) -> dict[str, float]:
    """Return numbers of bouts of one class, and the sums of the errors of start and end in seconds."""
    touch = ious > 0
    per_true, per_predicted = touch.sum(axis=0), touch.sum(axis=1)
    found = np.flatnonzero(per_true)
    nearest = ious[:, found].argmax(axis=0) if len(found) else found
    errors = np.abs(predicted_S2[nearest] - true_S2[found]).sum(axis=0) * seconds
    return {
        "true": len(true_S2),
        "predicted": len(predicted_S2),
        "missed": float((per_true == 0).sum()),
        "false": float((per_predicted == 0).sum()),
        "split": float((per_true > 1).sum()),
        "merged": float((per_predicted > 1).sum()),
        "pairs": len(found),
        "start_error": float(errors[0]),
        "end_error": float(errors[1]),
    }


def _mean(values: Float64) -> Float64:
    """Return the mean over the last axis of what is not NaN; NaN where there is nothing."""
    there = ~np.isnan(values)
    return ratio(np.where(there, values, 0).sum(axis=-1), there.sum(axis=-1).astype(np.float64))


def _overall(layout: _Layout) -> dict[str, Callable[[Float64], Float64]]:
    """Return how each score follows from the sums (D, M)."""
    take = layout.take

    def total(name: str) -> Callable[[Float64], Float64]:
        return lambda sums: take(sums, name).sum(axis=-1)

    def share(part: str, whole: str) -> Callable[[Float64], Float64]:
        return lambda sums: ratio(total(part)(sums), total(whole)(sums))

    def segmental_f1(number: int) -> Callable[[Float64], Float64]:
        return lambda sums: ratio(
            2 * take(sums, "hits")[..., number], total("true")(sums) + total("predicted")(sums)
        )

    return {
        "frame_accuracy": share("right", "known"),
        "macro_f1": lambda sums: _mean(_class_f1(layout, sums)),
        **{f"f1@{round(100 * least)}": segmental_f1(n) for n, least in enumerate(OVERLAPS)},
        "edit_score": share("edit", "one"),
        **{name: share(*parts) for name, parts in _BOUT_SHARES.items()},
    }


_BOUT_SHARES = {
    "missed_share": ("missed", "true"),
    "false_share": ("false", "predicted"),
    "split_share": ("split", "true"),
    "merged_share": ("merged", "predicted"),
    "start_error_seconds": ("start_error", "pairs"),
    "end_error_seconds": ("end_error", "pairs"),
}


def _class_f1(layout: _Layout, sums: Float64) -> Float64:
    both = layout.take(sums, "both_seconds")
    return ratio(2 * both, layout.take(sums, "true_seconds") + layout.take(sums, "predicted_seconds"))


def _of_class(layout: _Layout, k: int) -> dict[str, Callable[[Float64], Float64]]:
    """Return how each score of a class follows from the sums (D, M)."""

    def share(part: str, whole: str) -> Callable[[Float64], Float64]:
        return lambda sums: ratio(layout.take(sums, part)[..., k], layout.take(sums, whole)[..., k])

    def count(name: str) -> Callable[[Float64], Float64]:
        return lambda sums: layout.take(sums, name)[..., k]

    counts = ("true", "predicted", "missed", "false", "split", "merged")
    return {
        "f1": lambda sums: _class_f1(layout, sums)[..., k],
        "start_error_seconds": share("start_error", "pairs"),
        "end_error_seconds": share("end_error", "pairs"),
        **{f"num_{name}": count(name) for name in counts},
        "true_seconds": count("true_seconds"),
        "predicted_seconds": count("predicted_seconds"),
    }


def _score(value: float, draws_D: Float64 | None) -> Score:
    if np.isnan(value):
        return Score(None, None)
    drawn = np.empty(0) if draws_D is None else draws_D[~np.isnan(draws_D)]
    if not len(drawn):
        return Score(float(value), None)
    tail = (1 - _CONFIDENCE) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Score(float(value), (float(low), float(high)))


def _mean_score(precisions: Sequence[Precision]) -> Score:
    """Return the mean of average precisions over what they are of, in each draw."""
    value = float(_mean(np.stack([whole for whole, _ in precisions], axis=-1))[0])
    drawn = [draws for _, draws in precisions if draws is not None]
    return _score(value, _mean(np.stack(drawn, axis=-1)) if drawn else None)
