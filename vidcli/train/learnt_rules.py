"""Learn on validation recordings how the windows of a timeline become segments.

Every way to read windows and to smooth them is tried on the same windows. The best by the mean of the frame
macro F1 and the segmental F1@50 is kept with the model; of equally good ones the simplest.

Shape suffixes: W windows, N cells, K classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from vidcli.arrays import Float64
from vidcli.data.background import rows_by_subject
from vidcli.data.items import VideoItem
from vidcli.errors import VideoError
from vidcli.evaluate.recordings import LabelledRecording, align, recordings_of
from vidcli.evaluate.segment_scores import score_timelines
from vidcli.models.timeline_rules import READINGS, TimelineRules
from vidcli.predict import Predictor
from vidcli.predict.segment_streams import stream_segments
from vidcli.predict.segments import Timeline
from vidcli.predict.timeline import classify_windows
from vidcli.predict.window_plan import WindowCells, WindowPlan, learnt_plan, window_weights

_WEIGHTS = (0.05, 0.1, 0.2, 0.4, 0.8)
_SHARES = (0.25, 0.5, 1.0)
"""Of how long nearly all segments of a class last: what the shortest one may be."""
_NEARLY_ALL = 0.05
_UNSEEN = 0.5
"""Times that each class is taken to have followed each other one, beside what was counted."""


@dataclass(frozen=True)
class RulesTrial:
    """One way to make segments, and how good these are on the validation recordings."""

    rules: TimelineRules
    macro_f1: float
    segmental_f1: float

    @property
    def score(self) -> float:
        """What ways are compared by."""
        return (self.macro_f1 + self.segmental_f1) / 2

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        known = self.rules.to_dict() | {"macro_f1": self.macro_f1, "f1@50": self.segmental_f1}
        return {name: value for name, value in known.items() if name != "log_transitions"}


@dataclass(frozen=True)
class _Windows:
    """The windows of one recording: their probabilities, the number of cells, and seconds of the video."""

    recording: LabelledRecording
    probabilities_WK: Float64
    num_cells: int
    seconds: float


def learn_rules(
    predictor: Predictor,
    spans: Sequence[VideoItem],
    clips: Sequence[VideoItem],
    progress: Callable[[int, int], None],
) -> list[RulesTrial]:
    """Return what was tried, the best first; nothing where there is no validation recording.

    Args:
        predictor: of the model, whose classes exclude each other.
        spans: labelled spans of all recordings, with their splits.
        clips: that the model learnt from.
        progress: called with the seconds of recordings that are done and of all.
    """
    plan = learnt_plan(predictor.config, None)
    recordings = recordings_of(item for item in spans if item.split == "val")
    if plan is None or not recordings:
        return []
    windows = list(_classify(predictor, recordings, plan, progress))
    if not windows:
        return []
    names, trials = predictor.class_names, []
    learnt = [item for item in spans if item.split == "train"]
    for reading in READINGS:
        cells = [_read(one, plan, reading, len(names)) for one in windows]
        for rules in _candidates(names, learnt, clips, plan):
            trials.append(_try(replace(rules, reading=reading), windows, cells, plan, names))
    return sorted(trials, key=lambda trial: -trial.score)


def describe_gain(trials: Sequence[RulesTrial], num_recordings: int) -> str:
    """Return a sentence on the best way to make segments, beside leaving them as they come.

    Args:
        trials: as `learn_rules` returned them.
        num_recordings: that they were tried on.
    """
    best = trials[0]
    plain = next(
        trial for trial in trials if trial.rules.smoothing == "none" and trial.rules.reading == "mean"
    )
    names = {
        "none": "timelines are not smoothed",
        "duration": "timelines have a shortest duration of each class",
        "viterbi": "timelines are smoothed by learnt transitions between classes (Viterbi)",
    }
    read = " and read at the middles of windows" if best.rules.reading == "middle" else ""
    return (
        f"{names[best.rules.smoothing]}{read}: on {num_recordings} validation recordings F1@50 "
        f"{best.segmental_f1:.3f} and macro F1 {best.macro_f1:.3f}, without that {plain.segmental_f1:.3f} "
        f"and {plain.macro_f1:.3f}"
    )


def _classify(
    predictor: Predictor,
    recordings: Sequence[LabelledRecording],
    plan: WindowPlan,
    progress: Callable[[int, int], None],
) -> Iterator[_Windows]:
    """Yield the windows of each recording that can be decoded."""
    done = 0.0
    for number, recording in enumerate(recordings):

        def show(
            seconds: float, of: float, before: float = done, left: int = len(recordings) - number
        ) -> None:
            progress(round(before + seconds), round(before + of * left))

        try:
            found = classify_windows(predictor, recording.video, plan, show)
        except VideoError:  # named where it was checked
            continue
        done += found[2]
        yield _Windows(recording, *found)


def _read(windows: _Windows, plan: WindowPlan, reading: str, num_classes: int) -> Float64:
    """Return the probabilities of the cells (N, K)."""
    cells = WindowCells(num_classes, window_weights(plan.num_cells, reading))
    for probabilities_K in windows.probabilities_WK:
        cells.add_window(probabilities_K)
    return cells.means(0, windows.num_cells)


def _candidates(
    names: Sequence[str], spans: Sequence[VideoItem], clips: Sequence[VideoItem], plan: WindowPlan
) -> Iterator[TimelineRules]:
    """Yield the ways to smooth, the simplest first."""
    step, num_classes = plan.cell_seconds, len(names)
    plain = TimelineRules(step)
    yield plain
    lengths = _durations(names, spans)
    shortest = [float(np.quantile(of, _NEARLY_ALL)) if of else step for of in lengths]
    for share in _SHARES:
        seconds = tuple(max(step, share * one) for one in shortest)
        yield replace(plain, smoothing="duration", min_seconds=seconds)
    transitions_KK = np.log(count_transitions(names, spans, step))
    counts = Counter(clip.label for clip in clips)
    shares_K = np.array([max(1, counts[name]) for name in names], dtype=np.float64)
    for prior_K in (np.log(shares_K / shares_K.sum()), np.zeros(num_classes)):
        for weight in _WEIGHTS:
            yield replace(
                plain,
                smoothing="viterbi",
                log_prior=tuple(prior_K.tolist()),
                log_transitions=tuple(map(tuple, transitions_KK.tolist())),
                weight=weight,
            )


def _durations(names: Sequence[str], spans: Sequence[VideoItem]) -> list[list[float]]:
    """Return how long the spans of each class last, in seconds."""
    lengths: dict[str, list[float]] = {name: [] for name in names}
    for span in spans:
        if span.end_seconds is not None and span.label in lengths:
            lengths[span.label].append(span.end_seconds - span.start_seconds)
    return [lengths[name] for name in names]


def count_transitions(names: Sequence[str], spans: Sequence[VideoItem], step_seconds: float) -> Float64:
    """Return how probable each class, the column, is one step after each other one, the row, (K, K).

    A class lasts as long as its spans do on average. What follows it is counted where one span begins as
    another ends.

    Args:
        names: of the K classes.
        spans: labelled spans of recordings.
        step_seconds: from one cell to the next.
    """
    place = {name: number for number, name in enumerate(names)}
    follows_KK = np.full((len(names), len(names)), _UNSEEN)
    for rows in rows_by_subject(spans).values():
        rows = sorted(rows, key=lambda row: row.start_seconds)
        for one, other in pairwise(rows):
            touches = one.end_seconds is not None and other.start_seconds - one.end_seconds < step_seconds
            if touches and one.label in place and other.label in place:
                follows_KK[place[one.label], place[other.label]] += 1
    np.fill_diagonal(follows_KK, 0)
    cells = [max(1.5, float(np.mean(of)) / step_seconds) if of else 1.5 for of in _durations(names, spans)]
    leaves_K = 1 / np.array(cells)
    probable_KK = leaves_K[:, None] * follows_KK / follows_KK.sum(axis=1, keepdims=True)
    return np.asarray(probable_KK + np.diag(1 - leaves_K), dtype=np.float64)


def _try(
    rules: TimelineRules,
    windows: Sequence[_Windows],
    cells: Sequence[Float64],
    plan: WindowPlan,
    names: tuple[str, ...],
) -> RulesTrial:
    aligned = []
    for one, cells_NK in zip(windows, cells, strict=True):
        stream = stream_segments(
            lambda start, end, cells_NK=cells_NK: cells_NK[start:end],  # type: ignore[misc]
            names,
            plan.cell_seconds,
            0.0,
            None,
            None,
            rules,
        )
        segments = [*stream.advance(len(cells_NK)), *stream.finish(len(cells_NK), one.seconds)]
        timeline = Timeline(
            str(one.recording.path), names, plan.cell_seconds, one.seconds, cells_NK, tuple(segments)
        )
        # One group for all: intervals are not asked for, and take long.
        aligned.append(replace(align(one.recording, timeline, names, is_multi_label=False), group=""))
    overall = score_timelines(aligned).overall
    return RulesTrial(rules, overall["macro_f1"].value or 0.0, overall["f1@50"].value or 0.0)
